// The encoders of the autoencoders of decoder.h: pictures to latents. A picture is encoded to a
// normal distribution for each latent, of which this is the mean.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "core/context.h"
#include "core/dtype.h"
#include "core/status.h"
#include "io/checkpoint.h"
#include "models/autoencoder/decoder.h"
#include "models/parts/weights.h"

namespace intaglio::autoencoder {

// Every tensor that the encoder reads and its shape.
TensorShapes encoder_tensor_shapes(const DecoderConfig& config);

// What its weights take, prepared for a device.
uint64_t encoder_weight_bytes(const DecoderConfig& config, DType compute);

// kUnsupported for a checkpoint without an encoder, kShapeMismatch for one with another than that
// of `config`.
Status check_encoder_weights(const std::shared_ptr<const Checkpoint>& checkpoint,
                             const DecoderConfig& config);

struct EncoderWeights;

class Encoder {
 public:
  // (done, total) in blocks of layers.
  using Progress = std::function<void(int64_t, int64_t)>;

  // As Decoder::load.
  static Expected<Encoder> load(const Context& context, const PartFiles& files, DType compute);
  // Random weights in the shapes of `config`, for benchmarks.
  static Expected<Encoder> synthetic(const Context& context, const DecoderConfig& config,
                                     DType compute, uint64_t seed);

  const DecoderConfig& config() const { return config_; }
  // Latents encoded in one piece in each direction, as Decoder::kDefaultTile.
  void set_tile(int64_t latents) { tile_ = latents; }
  void set_packing(LatentPacking packing) { config_.packing = packing; }

  // Bytes `encode` takes from context.scratch for latents [latent_channels, h, w].
  size_t scratch_bytes(const Context& context, int64_t h, int64_t w) const;
  // The same before loading, from the picture's size in pixels.
  static uint64_t planned_bytes(const Context& context, const DecoderConfig& config, DType compute,
                                int64_t height, int64_t width);

  // Both in host memory, on a device of the kind the weights were prepared for.
  // image: [3, h * scale_factor, w * scale_factor] in [-1, 1] -> latent [latent_channels, h, w].
  Status encode(const Context& context, const float* image, int64_t h, int64_t w, float* latent,
                const Progress& progress) const;

  // latent: [latent_channels, 2 grid_h, 2 grid_w] -> x: [grid_h * grid_w, 4 * latent_channels] as
  // the transformer reads them: Decoder::denormalize_and_unpack leads back.
  Status pack_and_normalize(const float* latent, int64_t grid_h, int64_t grid_w, float* x) const;

 private:
  Status read_weights(const Context& context, TensorSource& source);

  DecoderConfig config_;
  DType compute_ = DType::kF32;
  int64_t tile_ = Decoder::kDefaultTile;
  std::shared_ptr<const EncoderWeights> weights_;
};

}  // namespace intaglio::autoencoder
