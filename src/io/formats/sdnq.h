// SDNQ's checkpoints (0.2.5 of August 2026) of int8 and uint8 weights, described by
// quantization_config.json, or the "quantization_config" of config.json: {"quant_method": "sdnq",
// "weights_dtype": "int8", "use_hadamard": false, "hadamard_group_size": 256, ...}
//   P.weight      I8 or U8 [n, k]; with as many groups of columns as the scale has, [n, g, k / g];
//                 or, where the scale is [1, n], transposed: [k, n]
//   P.scale       F32 [n, 1], [n, g, 1] or [1, n]
//   P.zero_point  floats like the scale, of uint8
//   P.svd_up, P.svd_down  [n, r] and [r, k], or transposed [r, n] and [k, r]; or none
//   W = q scale + zero_point + svd_up svd_down, then, with use_hadamard, its columns turned back in
//   groups
// The group is not written down (sdnq_hadamard_group). Its matrix is ConvRot's where it is a power
// of 4, else Sylvester's, the Kronecker power of [1 1; 1 -1], over the square root of the group.
#pragma once

#include "io/formats/formats.h"

namespace intaglio {

inline constexpr std::string_view kSdnqParts[] = {"scale", "zero_point", "svd_up", "svd_down"};

Refusal sdnq_refusal(const TensorSet& tensors);
Expected<std::vector<LinearEntry>> sdnq_linears(const TensorSet& tensors);

// Turns a row of `cols` values in place, groups of `group` (a power of 2), each times Sylvester's
// matrix over sqrt(group); its own inverse.
void sylvester_row(float* x, int64_t cols, int64_t group);

}  // namespace intaglio
