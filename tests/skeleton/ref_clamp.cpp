// The reference: plain loops, never optimised. src/ops/ref/clamp.cpp.
#include <cmath>

#include "skeleton/clamp_implementations.h"

namespace intaglio::skeleton::ref {

Status clamp(const Context&, const Clamp& op) {
  for (int64_t i = 0; i < op.count; ++i) {
    if (std::isnan(op.x[i])) continue;
    if (op.x[i] < op.low) op.x[i] = op.low;
    if (op.x[i] > op.high) op.x[i] = op.high;
  }
  return {};
}

}  // namespace intaglio::skeleton::ref
