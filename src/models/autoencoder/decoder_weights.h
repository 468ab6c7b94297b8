// Prepared weights of the decoder in memory of the context's device, and the walk through its
// layers; inside this folder only.
#pragma once

#include <optional>
#include <vector>

#include "core/aligned_buffer.h"
#include "models/autoencoder/decoder.h"
#include "ops/conv2d.h"

namespace intaglio::autoencoder {

struct DecoderWeights {
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
  struct UpBlock {
    std::vector<Resnet> resnets;
    std::optional<Conv2dWeights> upsampler;
  };

  std::vector<float> latent_scale, latent_shift;  // of packed channels, host memory
  std::optional<Conv2dWeights> post_quant;
  Conv2dWeights conv_in;
  std::vector<Resnet> mid;  // two
  std::optional<Attention> attention;
  std::vector<UpBlock> up;  // smallest picture first
  Norm norm_out;
  Conv2dWeights conv_out;
};

// The layers without their weights, to plan memory by.
Expected<DecoderWeights> describe_decoder(const Context& context, const DecoderConfig& config,
                                          DType compute);

}  // namespace intaglio::autoencoder
