// ops/elementwise.h on a GPU.
#pragma once

#include "ops/elementwise.h"

namespace intaglio::cuda::op {

Refusal convert_elements_refusal(const ConvertElements& op, const Context& context);
Status convert_elements(const Context& context, const ConvertElements& op);
Refusal activate_in_place_refusal(const ActivateInPlace& op, const Context& context);
Status activate_in_place(const Context& context, const ActivateInPlace& op);
Refusal epilogue_rows_refusal(const EpilogueRows& op, const Context& context);
Status epilogue_rows(const Context& context, const EpilogueRows& op);
Refusal add_in_place_refusal(const AddInPlace& op, const Context& context);
Status add_in_place(const Context& context, const AddInPlace& op);
Refusal gate_rows_refusal(const GateRows& op, const Context& context);
Status gate_rows(const Context& context, const GateRows& op);
Refusal scatter_tap_refusal(const ScatterTap& op, const Context& context);
Status scatter_tap(const Context& context, const ScatterTap& op);
Refusal softmax_rows_refusal(const SoftmaxRows& op, const Context& context);
Status softmax_rows(const Context& context, const SoftmaxRows& op);
Refusal place_tile_refusal(const PlaceTile& op, const Context& context);
Status place_tile(const Context& context, const PlaceTile& op);

}  // namespace intaglio::cuda::op
