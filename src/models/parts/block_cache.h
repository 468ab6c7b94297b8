// What the blocks of a pass after the first few add to the image's rows, kept from one step for
// later ones that do without those blocks (block caching: FBCache, TeaCache and others).
//
//   kept step    h = blocks[first..](blocks[..first](x)),  residual = h - blocks[..first](x)
//   later step   h = blocks[..first](x) + residual
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/context.h"
#include "core/status.h"

namespace intaglio {

// All rows and sums are F32, each sum rounded. Memory of the context's device.
struct BlockCache {
  size_t first = 0;           // blocks that every pass computes, at least 1
  float* residual = nullptr;  // [image rows, width], its negative; nullptr: nothing is kept
  bool reuse = false;         // whether the residual takes the place of the other blocks

  bool keeps() const { return residual != nullptr && !reuse; }
  // Of `layers` blocks, those that the pass computes.
  size_t last_of(size_t layers) const { return reuse ? first : layers; }

  // Before block `index` of a pass, with `values` values of the image's rows at `h`.
  Status before_block(const Context& context, size_t index, const float* h, int64_t values) const;
  // Behind the last block that the pass computes.
  Status finish(const Context& context, float* h, int64_t values) const;
};

}  // namespace intaglio
