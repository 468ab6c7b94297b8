// bitsandbytes' checkpoints (0.50 of August 2026; the official NF4 checkpoint of Ideogram 4).
//
// Four bits, element 2i of the flattened [n, k] in the high nibble of byte i:
//   P.weight                               U8 [ceil(n k / 2), 1]
//   P.weight.absmax                        F32 [blocks], the last block may be short
//   P.weight.quant_map                     F32 [16]
//   P.weight.quant_state.bitsandbytes__nf4 (or __fp4)   U8, JSON:
//     {"quant_type": "nf4", "blocksize": 64, "dtype": "bfloat16", "shape": [n, k]}
//   W = map[code] absmax[block]
// Nested: absmax is U8, and there are P.weight.nested_absmax F32, P.weight.nested_quant_map F32
// [256], and in the JSON nested_blocksize, nested_offset and nested_dtype:
//   absmax = nested_map[u8] nested_absmax[block / nested_blocksize] + nested_offset
//
// Eight bits: P.weight I8 [n, k], P.SCB F32 [n], P.weight_format U8 [] = 0, rows; other values are
// tiled layouts of old versions. W = q SCB / 127.
#pragma once

#include "io/formats/formats.h"

namespace intaglio {

inline constexpr std::string_view kBitsandbytesParts[] = {"weight.absmax",
                                                          "weight.quant_map",
                                                          "weight.nested_absmax",
                                                          "weight.nested_quant_map",
                                                          "weight.quant_state.bitsandbytes__nf4",
                                                          "weight.quant_state.bitsandbytes__fp4",
                                                          "SCB",
                                                          "weight_format"};

Refusal bitsandbytes_refusal(const TensorSet& tensors);
Expected<std::vector<LinearEntry>> bitsandbytes_linears(const TensorSet& tensors);

}  // namespace intaglio
