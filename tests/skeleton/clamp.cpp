// Checks, list and call: src/ops/clamp.cpp.
#include "skeleton/clamp.h"

#include "skeleton/clamp_implementations.h"

namespace intaglio::skeleton {
namespace {

// Best first; the reference comes last and takes everything.
constexpr OpImplementation<Clamp> kClamp[] = {
    {"cpu_clamp", takes_all, cpu::clamp},
    {"ref_clamp", takes_all, ref::clamp},
};

}  // namespace

OpList<Clamp> clamp_implementations() { return kClamp; }

Status clamp(const Context& context, const Clamp& op) {
  if (op.count < 0)
    return make_error(ErrorCode::kInvalidArgument, "clamp: {} values; expected 0 or more",
                      op.count);
  if (op.count > 0 && op.x == nullptr)
    return make_error(ErrorCode::kInvalidArgument, "clamp: x is null");
  if (!(op.low <= op.high))
    return make_error(ErrorCode::kInvalidArgument, "clamp: limits {} to {}; expected low <= high",
                      op.low, op.high);
  return run_first(OpName{"clamp", "a clamp"}, clamp_implementations(), context, op,
                   [](const Clamp& c) { return fmt::format("{} values", c.count); });
}

}  // namespace intaglio::skeleton
