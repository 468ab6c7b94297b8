// V of attention in int8: every channel of a head less its mean over the tokens, with one scale.
//
//   v[s, h, c] = values[h, s, c] * scale[h, c] + mean[h, c]
//
// Softmax weights sum to 1, so that the mean comes back as it is:
//   sum_s p[s] v[s] / sum_s p[s] = mean + scale * sum_s p[s] values[s] / sum_s p[s]
//
// F32, each operation rounded. The mean: sums of kS8MeanTokens tokens, one after the other, then
// the sum of these in order, divided by the tokens. x = v - mean; scale = max(absmax / 127, 1e-30)
// over the x of all tokens; value = clamp(round_half_even(x * (127 / absmax)), -127, 127), 0 where
// absmax < 1e-36. A NaN or an Inf, also of a sum that overflows, gives a channel of zeros with
// scale NaN: all outputs of the channel are NaN.
#pragma once

#include <cstdint>

#include "core/arena.h"
#include "core/context.h"
#include "core/dtype.h"
#include "core/status.h"
#include "ops/op_list.h"
#include "ops/s8_value_layout.h"

namespace intaglio {

// All in one block of memory.
struct QuantizedValues {
  // [kv_heads, ceil(tokens / kS8ValueKeys), head_dim, kS8ValueKeys]: of a group the channels one
  // after the other, each with its keys in the order of s8_value_key; 0 for keys past the last.
  int8_t* values = nullptr;
  float* scale = nullptr;  // [kv_heads, head_dim]
  float* mean = nullptr;   // [kv_heads, head_dim]
};

struct QuantizeValues {
  const void* v = nullptr;                         // [tokens, kv_heads, head_dim]
  int64_t ldv = 0;                                 // elements from token to token
  int64_t tokens = 0, kv_heads = 0, head_dim = 0;  // tokens: 1 to 2^24
  DType dtype = DType::kF32;                       // of v: kF32 or kBF16
  QuantizedValues out{};
};

// Memory of the result, to be taken from an arena.
size_t quantized_values_bytes(int64_t tokens, int64_t kv_heads, int64_t head_dim);
Expected<QuantizedValues> take_quantized_values(Arena& arena, int64_t tokens, int64_t kv_heads,
                                                int64_t head_dim);

OpList<QuantizeValues> quantize_values_implementations();  // "cuda_", "ref_quantize_values"
// Bytes it takes from context.scratch.
size_t quantize_values_scratch_bytes(const Context& context, const QuantizeValues& op);
Status quantize_values(const Context& context, const QuantizeValues& op);

}  // namespace intaglio
