#include <algorithm>
#include <cmath>

#include "core/parallel_tasks.h"
#include "ops/cpu/float_row_kernels.h"
#include "ops/pixel_norm_implementations.h"

namespace intaglio::cpu {

Status pixel_norm_by(const FloatRowKernels& kernels, const Context& context, const PixelNorm& op) {
  const int64_t pixel = op.channels * static_cast<int64_t>(dtype_size(op.dtype));
  const int64_t grain = std::max<int64_t>(1, 16384 / op.channels);
  return parallel_tasks(context, op.pixels, grain, [&](int64_t begin, int64_t end, int) {
    kernels.pixel_norm({.x = static_cast<const std::byte*>(op.x) + begin * pixel,
                        .y = static_cast<std::byte*>(op.y) + begin * pixel,
                        .bf16 = op.dtype == DType::kBF16,
                        .rows = end - begin,
                        .channels = op.channels,
                        .weight = op.weight,
                        .root = std::sqrt(static_cast<float>(op.channels)),
                        .least = kLeastPixelNorm,
                        .silu = op.silu});
  });
}

}  // namespace intaglio::cpu
