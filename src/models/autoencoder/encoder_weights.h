// The encoder's layers; inside this folder only.
#pragma once

#include "models/autoencoder/encoder.h"
#include "models/autoencoder/layers.h"

namespace intaglio::autoencoder {

struct EncoderWeights {
  struct DownBlock {
    std::vector<Resnet> resnets;
    std::optional<Conv2dWeights> downsampler;
  };

  LatentStatistics statistics;
  Conv2dWeights conv_in;
  std::vector<DownBlock> down;  // full size first
  MidBlock mid;
  Norm norm_out;
  Conv2dWeights conv_out;  // to means, then logarithms of variances
  std::optional<Conv2dWeights> quant;
};

// The layers without their weights, to plan memory by.
Expected<EncoderWeights> describe_encoder(const Context& context, const DecoderConfig& config,
                                          DType compute);

}  // namespace intaglio::autoencoder
