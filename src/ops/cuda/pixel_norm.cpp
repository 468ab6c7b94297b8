#include "ops/cuda/pixel_norm.h"

#include <cmath>

#include "core/cuda/device.h"
#include "ops/cuda/launch/pixel_norm.h"
#include "ops/cuda/stream.h"

namespace intaglio::cuda::op {
namespace {

PixelNormParams params(const PixelNorm& n) {
  return {.x = n.x,
          .y = n.y,
          .weight = n.weight,
          .pixels = n.pixels,
          .channels = n.channels,
          .root = std::sqrt(static_cast<float>(n.channels)),
          .least = kLeastPixelNorm,
          .silu = n.silu,
          .type = n.dtype};
}

}  // namespace

Refusal pixel_norm_refusal(const PixelNorm& op, const Context&) {
  return cuda::pixel_norm_refusal(params(op));
}

Status pixel_norm(const Context& context, const PixelNorm& op) {
  return device_status(cuda::pixel_norm(params(op), stream_of(context)), "a norm of pixels");
}

}  // namespace intaglio::cuda::op
