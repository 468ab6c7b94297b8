// The functions behind the list of clamp.h: src/ops/clamp_implementations.h.
#pragma once

#include "skeleton/clamp.h"

namespace intaglio::skeleton {

namespace cpu {
Status clamp(const Context& context, const Clamp& op);
}  // namespace cpu

namespace ref {
Status clamp(const Context& context, const Clamp& op);
}  // namespace ref

}  // namespace intaglio::skeleton
