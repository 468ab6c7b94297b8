// The decoder's layers; inside this folder only.
#pragma once

#include "models/autoencoder/decoder.h"
#include "models/autoencoder/layers.h"

namespace intaglio::autoencoder {

struct DecoderWeights {
  struct UpBlock {
    std::vector<Resnet> resnets;
    std::optional<Conv2dWeights> upsampler;
  };

  LatentStatistics statistics;
  std::optional<Conv2dWeights> post_quant;
  Conv2dWeights conv_in;
  MidBlock mid;
  std::vector<UpBlock> up;  // smallest picture first
  Norm norm_out;
  Conv2dWeights conv_out;
};

// The layers without their weights, to plan memory by.
Expected<DecoderWeights> describe_decoder(const Context& context, const DecoderConfig& config,
                                          DType compute);

}  // namespace intaglio::autoencoder
