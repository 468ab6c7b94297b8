// On the CPU a pace is a look at the flag before each piece.
#include "core/pace.h"

#include <gtest/gtest.h>

namespace intaglio {
namespace {

TEST(Pace, StopsAtThePieceAfterTheCall) {
  std::atomic<bool> cancel = false;
  Context context;
  context.cancel = &cancel;
  Pace pace(context);
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(pace.next());
  cancel = true;
  const Status stopped = pace.next();
  ASSERT_FALSE(stopped);
  EXPECT_EQ(stopped.error().code, ErrorCode::kCancelled);
}

TEST(Pace, GoesOnWhereNobodyCanCall) {
  Context context;
  Pace pace(context);
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(pace.next());
}

}  // namespace
}  // namespace intaglio
