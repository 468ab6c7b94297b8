// The skeleton of an op, walked through by docs/adding-an-op.md: its contract. In the engine this
// would be src/ops/clamp.h.
//
//   x[i] = min(max(x[i], low), high)      F32; a NaN stays NaN, an infinity becomes its limit
#pragma once

#include <cstdint>

#include "core/status.h"
#include "ops/op_list.h"

namespace intaglio::skeleton {

struct Clamp {
  float* x = nullptr;  // [count]
  int64_t count = 0;
  float low = 0.0f, high = 1.0f;  // low <= high
};

OpList<Clamp> clamp_implementations();

// kInvalidArgument: a negative count, no x, limits that are NaN or the wrong way round.
Status clamp(const Context& context, const Clamp& op);

}  // namespace intaglio::skeleton
