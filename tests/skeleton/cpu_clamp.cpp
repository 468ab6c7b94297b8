// A kernel for CPUs: src/ops/cpu/clamp.cpp. The comparisons are written so that the compiler makes
// the two instructions of them, and a NaN, for which both are false, stays.
#include "core/parallel.h"
#include "skeleton/clamp_implementations.h"

namespace intaglio::skeleton::cpu {

Status clamp(const Context& context, const Clamp& op) {
  // Values a thread takes at once: long enough to hide the hand-out, short enough to balance.
  constexpr int64_t kGrain = 1 << 14;
  parallel_for(context.threads, op.count, kGrain, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      const float at_least = op.x[i] < op.low ? op.low : op.x[i];
      op.x[i] = at_least > op.high ? op.high : at_least;
    }
  });
  return {};
}

}  // namespace intaglio::skeleton::cpu
