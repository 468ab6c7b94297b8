#include <algorithm>
#include <cmath>

#include "ops/nonlinearity.h"
#include "ops/pixel_norm_implementations.h"
#include "ops/ref/reference_math.h"

namespace intaglio::ref {
namespace {

template <typename T>
void normalize(const PixelNorm& op, const T* x, T* y) {
  for (int64_t p = 0; p < op.pixels; ++p, x += op.channels, y += op.channels) {
    double squares = 0.0;
    for (int64_t c = 0; c < op.channels; ++c) {
      const auto v = static_cast<double>(static_cast<float>(x[c]));
      squares += v * v;
    }
    // The first operand of std::max stays where the norm is NaN.
    const double norm = std::max(std::sqrt(squares), static_cast<double>(kLeastPixelNorm));
    const double factor = std::sqrt(static_cast<double>(op.channels)) / norm;
    for (int64_t c = 0; c < op.channels; ++c) {
      const double v = static_cast<double>(static_cast<float>(x[c])) * factor *
                       static_cast<double>(op.weight[c]);
      y[c] = static_cast<T>(static_cast<float>(op.silu ? activate<ReferenceMath>(Silu{}, v) : v));
    }
  }
}

}  // namespace

Status pixel_norm(const Context&, const PixelNorm& op) {
  if (op.dtype == DType::kBF16) {
    normalize(op, static_cast<const BFloat16*>(op.x), static_cast<BFloat16*>(op.y));
  } else {
    normalize(op, static_cast<const float*>(op.x), static_cast<float*>(op.y));
  }
  return {};
}

}  // namespace intaglio::ref
