// INTAGLIO_TRACE=dispatch on a GPU: beside the implementation, the kernel and its tile.
#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <mutex>
#include <string>
#include <vector>

#include "core/log.h"
#include "device/double/device_double.h"
#include "device/written_model.h"
#include "pipeline/pipeline.h"
#include "support/scoped_environment.h"

namespace intaglio {
namespace {

// A line with all three in this order.
struct Parts {
  const char *op, *middle, *end;
};

bool is_line(const std::string& line, const Parts& parts) {
  return line.starts_with(parts.op) && line.find(parts.middle) != std::string::npos &&
         line.ends_with(parts.end);
}

TEST(KernelTrace, NamesKernelsAndTilesOfAPicture) {
  test::DeviceDouble::instance().restart();
  const test::ScopedEnvironment traced("INTAGLIO_TRACE", "dispatch");
  std::mutex mutex;
  std::vector<std::string> lines;
  set_log_callback([&](LogLevel, std::string_view line) {
    const std::scoped_lock lock(mutex);
    lines.emplace_back(line);
  });
  PipelineOptions options{.selection = {.precision = Precision::kInt8, .keep_bf16 = {}}, .gpu = 0};
  options.threads = 1;
  PictureRequest request;
  request.token_ids = std::vector<int32_t>{5, 17, 3, 99, 42, 8};
  request.width = request.height = 16;
  request.steps = 1;
  request.guidance = {3.0f};
  {
    const auto pipeline = Pipeline::open(test::written_model(test::tiny_sizes()), options);
    ASSERT_TRUE(pipeline) << pipeline.error().message;
    const auto picture = (*pipeline)->generate(request, {}, nullptr);
    ASSERT_TRUE(picture) << picture.error().message;
  }
  set_log_callback(nullptr);
  for (const Parts& parts :
       {Parts{"dispatch s8_gemm m=", " epilogue=swiglu ", " on cuda:0: s8_gemm of the double"},
        Parts{"dispatch attention ", " tokens, ",
              " on cuda:0: sm80_s8_attention tile of the double"},
        Parts{"dispatch conv2d ", " kernel 3 ", " on cuda:0: sm80_conv2d 128x64x32, 3 stages"}}) {
    EXPECT_TRUE(std::any_of(lines.begin(), lines.end(),
                            [&](const std::string& line) { return is_line(line, parts); }))
        << parts.op << parts.middle << parts.end << "\n"
        << fmt::format("{}", fmt::join(lines, "\n"));
  }
}

}  // namespace
}  // namespace intaglio
