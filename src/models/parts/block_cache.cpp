#include "models/parts/block_cache.h"

#include <array>

#include "core/memory.h"
#include "ops/euler_step.h"

namespace intaglio {
namespace {

// x -= y.
Status subtract(const Context& context, float* x, const float* y, int64_t values) {
  const std::array<WeightedVelocity, 1> one{{{y, 1.0f}}};
  return euler_step(context, {.x = x, .count = values, .passes = one, .delta = 1.0f});
}

}  // namespace

Status BlockCache::before_block(const Context& context, size_t index, const float* h,
                                int64_t values) const {
  if (!keeps() || index != first) return {};
  return copy_inside(context, residual, h, static_cast<size_t>(values) * sizeof(float));
}

Status BlockCache::finish(const Context& context, float* h, int64_t values) const {
  if (residual == nullptr) return {};
  return reuse ? subtract(context, h, residual, values) : subtract(context, residual, h, values);
}

}  // namespace intaglio
