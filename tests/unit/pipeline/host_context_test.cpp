// More threads than processors only wait for one another: they are not used.
#include <gtest/gtest.h>

#include "core/processors.h"
#include "pipeline/device.h"

namespace intaglio {
namespace {

TEST(host_context, uses_no_more_threads_than_there_are_processors) {
  const int usable = usable_processors();
  for (const int asked : {0, 1, usable, 64 * usable, 1024}) {
    const auto context = host_context(asked);
    ASSERT_TRUE(context) << context.error().message;
    EXPECT_EQ(context->threads, asked == 0 ? usable : std::min(asked, usable)) << asked;
  }
}

}  // namespace
}  // namespace intaglio
