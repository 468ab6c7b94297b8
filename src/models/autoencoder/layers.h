// Prepared weights that both halves of an autoencoder are made of, in memory of the context's
// device; inside this folder only.
#pragma once

#include <optional>
#include <vector>

#include "core/aligned_buffer.h"
#include "ops/conv2d.h"

namespace intaglio::autoencoder {

struct Norm {
  AlignedBuffer weight, bias;  // F32 [channels]; kWan has no bias
};
struct Resnet {
  Norm norm1, norm2;
  Conv2dWeights conv1, conv2;
  std::optional<Conv2dWeights> shortcut;
};
struct Attention {
  Norm norm;
  Conv2dWeights q, k, out;  // 1x1
  AlignedBuffer v;          // [channels, channels] of the compute type
  AlignedBuffer v_bias;     // F32 [channels]
};
// Between the blocks of a decoder's and an encoder's levels.
struct MidBlock {
  std::vector<Resnet> resnets;  // two
  std::optional<Attention> attention;
};

// Of packed channels, host memory: latent = x * scale + shift.
struct LatentStatistics {
  std::vector<float> scale, shift;
};

}  // namespace intaglio::autoencoder
