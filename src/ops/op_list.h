// How small ops write down their lists, one line an implementation, best first.
#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <utility>

#include "core/context.h"
#include "core/registry.h"
#include "core/status.h"

namespace intaglio {

// Of an op whose one struct holds its sizes and its pointers.
template <typename Op>
struct OpImplementation {
  const char* name;
  Refusal (*can_run)(const Op&, const Context&);
  Status (*run)(const Context&, const Op&);
  DeviceKind device = DeviceKind::kCpu;
};

template <typename Op>
using OpList = std::span<const OpImplementation<Op>>;

// The refusal of implementations that take all that the op itself takes.
template <typename Op>
Refusal takes_all(const Op&, const Context&) {
  return nullptr;
}

// An implementation on GPUs: its functions in the order of the fields. They are template arguments
// so that a build without CUDA, which has them nowhere, does not refer to them.
template <auto... kFunctions>
struct GpuEntry {
  const char* name;
};

template <typename Implementation, auto... kFunctions, size_t kCount>
consteval auto op_list([[maybe_unused]] GpuEntry<kFunctions...> gpu,
                       const Implementation (&cpu)[kCount]) {
#if defined(INTAGLIO_HAS_CUDA)
  std::array<Implementation, kCount + 1> list{};
  list[0] = {gpu.name, kFunctions..., DeviceKind::kGpu};
  for (size_t i = 0; i < kCount; ++i) list[i + 1] = cpu[i];
  return list;
#else
  return std::to_array(cpu);
#endif
}

// The implementation that `choose` takes, without a line in the trace: for plans. nullptr where
// none can run.
template <typename Implementation, typename Desc>
const Implementation* first_taker(std::span<const Implementation> list, const Desc& desc,
                                  const Context& context) {
  for (const Implementation& implementation : list) {
    if (refuse_device(implementation.device, context) == nullptr &&
        implementation.can_run(desc, context) == nullptr)
      return &implementation;
  }
  return nullptr;
}

// Runs the first of `list` that takes `op`.
template <typename Op, typename Describe>
Status run_first(const OpName& name, OpList<Op> list, const Context& context, const Op& op,
                 Describe&& describe) {
  INTAGLIO_ASSIGN(const OpImplementation<Op>* chosen,
                  choose(name, list, op, context, std::forward<Describe>(describe)));
  return chosen->run(context, op);
}

}  // namespace intaglio
