// The layer norm of blocks that a step shifts, scales and gates (FLUX.2, Qwen-Image), and the
// residual before it.
//
//   u = layernorm(h) * (1 + scale) + shift        h += gate * y
#pragma once

#include "core/context.h"
#include "core/profile.h"
#include "models/parts/block_buffers.h"
#include "ops/linear.h"
#include "ops/norm.h"

namespace intaglio {

// F32 [width] each, memory of the device.
struct Modulation {
  const float* shift = nullptr;
  const float* scale = nullptr;
  const float* gate = nullptr;

  // Of a table of shift, scale and gate, three rows each, the `index`-th.
  static Modulation at(const float* table, int64_t width, int64_t index) {
    const float* const first = table + 3 * index * width;
    return {first, first + width, first + 2 * width};
  }
};

// The norm of the rows of `b`, towards what its reader wants, in b.norm_output(reader).
struct ModulatedNorm {
  const LinearWeights& reader;
  NormDesc desc;
  NormArgs args;  // x is b.h

  ModulatedNorm(const BlockBuffers& b, float eps, const Modulation& modulation,
                const LinearWeights& read_by);
};

// Leaves b.input_for(next.reader) in `b`.
Status run_norm(const Context& context, const ModulatedNorm& next, BlockBuffers& b,
                Profile* profile);
// The same of rows to which gate * b.narrow [tokens, width] has been added; `next` may be null.
Status add_gated(const Context& context, int64_t width, const float* gate,
                 const ModulatedNorm* next, BlockBuffers& b, Profile* profile);

}  // namespace intaglio
