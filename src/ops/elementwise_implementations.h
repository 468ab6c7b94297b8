// The kernels behind the lists of ops/elementwise.h on CPUs.
#pragma once

#include "ops/elementwise.h"

namespace intaglio {

namespace cpu {
Status convert_elements(const Context& context, const ConvertElements& op);
Status activate_in_place(const Context& context, const ActivateInPlace& op);
Status add_in_place(const Context& context, const AddInPlace& op);
Status scatter_tap(const Context& context, const ScatterTap& op);
Status place_tile(const Context& context, const PlaceTile& op);
// By the kernels of one instruction set.
struct FloatRowKernels;
Status softmax_rows_by(const FloatRowKernels& kernels, const Context& context,
                       const SoftmaxRows& op);
Status gate_rows_by(const FloatRowKernels& kernels, const Context& context, const GateRows& op);
Status epilogue_rows_by(const FloatRowKernels& kernels, const Context& context,
                        const EpilogueRows& op);
}  // namespace cpu

namespace ref {
Status convert_elements(const Context& context, const ConvertElements& op);
Status activate_in_place(const Context& context, const ActivateInPlace& op);
Status add_in_place(const Context& context, const AddInPlace& op);
Status gate_rows(const Context& context, const GateRows& op);
Status scatter_tap(const Context& context, const ScatterTap& op);
Status softmax_rows(const Context& context, const SoftmaxRows& op);
Status epilogue_rows(const Context& context, const EpilogueRows& op);
Status place_tile(const Context& context, const PlaceTile& op);
}  // namespace ref

}  // namespace intaglio
