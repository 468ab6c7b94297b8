// The decoders of the AutoencoderKL family (FLUX.1, FLUX.2) and of Wan 2.1's (Qwen-Image, Krea 2):
// latents to pictures. encoder.h is their other half.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/context.h"
#include "core/dtype.h"
#include "core/profile.h"
#include "core/status.h"
#include "io/checkpoint.h"
#include "io/json_config.h"
#include "models/parts/selection.h"
#include "models/parts/weights.h"

namespace intaglio::autoencoder {

inline constexpr const char* kKlClass = "AutoencoderKL";
inline constexpr const char* kFlux2Class = "AutoencoderKLFlux2";
inline constexpr const char* kWanClass = "AutoencoderKLQwenImage";

// kWan decodes videos; of one frame every 3 x 3 x 3 convolution is a 3 x 3 one. Norms are over the
// channels of each pixel, and behind an upsampler a block has half of its width.
enum class DecoderFamily { kKl, kWan };

// Where channel c of the latent (dy, dx) of a token's 2 x 2 stands among the token's channels.
enum class LatentPacking {
  kChannelFastest,  // (2 dy + dx) channels + c
  kChannelSlowest,  // 4 c + 2 dy + dx
};

struct DecoderConfig {
  DecoderFamily family = DecoderFamily::kKl;
  int64_t latent_channels = 0;
  // Of the decoder's blocks, the full-size one first; each halves the size of the one before.
  std::vector<int64_t> widths = {};
  int64_t layers_per_block = 0;  // of the encoder; the decoder has one more
  int64_t norm_groups = 0;
  float norm_eps = 1e-6f;
  // Latents are scaled and shifted by the statistics of a batch norm among the weights
  // (AutoencoderKLFlux2), else z = x / scaling_factor + shift_factor (AutoencoderKL).
  bool batch_norm = true;
  double batch_norm_eps = 0.0;
  double scaling_factor = 1.0, shift_factor = 0.0;
  std::vector<float> latents_mean = {}, latents_std = {};  // of kWan's latents, a channel each
  bool mid_attention = true;
  bool post_quant_conv = true;
  // Of the encoder where they are not the decoder's: of its blocks, the full-size one first, and
  // behind its first convolution.
  std::vector<int64_t> own_encoder_widths = {};
  int64_t own_encoder_width_in = 0;
  bool quant_conv = true;
  std::string encoder_refusal = {};  // why it is none that is known; empty: it is
  LatentPacking packing = LatentPacking::kChannelFastest;  // of the transformer, no config has it

  // Of the config that says so.
  const char* class_name() const {
    if (family == DecoderFamily::kWan) return kWanClass;
    return batch_norm ? kFlux2Class : kKlClass;
  }
  const std::vector<int64_t>& encoder_widths() const {
    return own_encoder_widths.empty() ? widths : own_encoder_widths;
  }
  int64_t encoder_width_in() const {
    return own_encoder_width_in > 0 ? own_encoder_width_in : encoder_widths().front();
  }
  // Pixels a latent covers in each direction.
  int64_t scale_factor() const { return int64_t{1} << (widths.size() - 1); }
};

// Of FLUX.2's, as published.
DecoderConfig flux2_config();
// Of Qwen-Image's, as published, but for the statistics of latents, which are those of random
// weights' (0 and 1).
DecoderConfig qwen_image_config();

// Of `vae/config.json`.
Expected<DecoderConfig> parse_decoder_config(const JsonConfig& json);

// kBadFormat, beginning with `where`, unless it is of the class and a token of 2 x 2 of its latents
// has as many channels as the transformer's.
Status check_latents(const DecoderConfig& config, std::string_view class_name, int64_t channels,
                     const std::string& where);

// Every tensor that the decoder reads and its shape.
TensorShapes decoder_tensor_shapes(const DecoderConfig& config);

// Channel, of the 4 x `planes` of a token of 2 x 2 latents, that holds the latent at row y and
// column x of a plane.
constexpr int64_t packed_channel(LatentPacking packing, int64_t y, int64_t x, int64_t plane,
                                 int64_t planes) {
  const int64_t corner = y % 2 * 2 + x % 2;
  return packing == LatentPacking::kChannelFastest ? corner * planes + plane : plane * 4 + corner;
}

// What its weights take, prepared for a device.
uint64_t decoder_weight_bytes(const DecoderConfig& config, DType compute);

// kShapeMismatch unless `checkpoint` has the decoder of `config`, and no block of it more.
Status check_decoder_weights(const std::shared_ptr<const Checkpoint>& checkpoint,
                             const DecoderConfig& config);

struct DecoderWeights;

class Decoder {
 public:
  // (done, total) in blocks of layers.
  using Progress = std::function<void(int64_t, int64_t)>;

  // Latents decoded in one piece in each direction. Larger pictures are decoded in tiles of this
  // size that overlap by a quarter or more and are blended linearly, so that memory stays bounded.
  // A tile has its own group norm statistics and attention: the result differs a little from that
  // of one piece.
  static constexpr int64_t kDefaultTile = 128;

  // Reads `files`. `compute` is the type of activations and weights,
  // kF32 or kBF16; sums are fp32. Errors list every missing or mis-shaped tensor.
  static Expected<Decoder> load(const Context& context, const PartFiles& files, DType compute);

  // Random weights in the shapes of `config`, for benchmarks.
  static Expected<Decoder> synthetic(const Context& context, const DecoderConfig& config,
                                     DType compute, uint64_t seed);
  // The type to compute in: BF16 where the precision allows it and the device has arithmetic for
  // it.
  static DType compute_dtype(const Context& context, const LayerSelection& selection);

  const DecoderConfig& config() const { return config_; }
  void set_tile(int64_t latents) { tile_ = latents; }
  void set_packing(LatentPacking packing) { config_.packing = packing; }

  // Bytes `decode` takes from context.scratch for latents [latent_channels, h, w].
  size_t scratch_bytes(const Context& context, int64_t h, int64_t w) const;
  // The same before loading, from the picture's size in pixels.
  static uint64_t planned_bytes(const Context& context, const DecoderConfig& config, DType compute,
                                int64_t height, int64_t width);

  // x: [grid_h * grid_w, 4 * latent_channels] as the transformer gives them (packed_channel) ->
  // latent [latent_channels, 2 grid_h, 2 grid_w].
  Status denormalize_and_unpack(const float* x, int64_t grid_h, int64_t grid_w,
                                float* latent) const;

  // Both in host memory, on a device of the kind the weights were prepared for.
  // latent: [latent_channels, h, w] -> image [3, h * scale_factor, w * scale_factor], before the
  // clamp: about [-1, 1]. `profile` may be null.
  Status decode(const Context& context, const float* latent, int64_t h, int64_t w, float* image,
                const Progress& progress, Profile* profile = nullptr) const;

 private:
  Status read_weights(const Context& context, TensorSource& source);

  DecoderConfig config_;
  DType compute_ = DType::kF32;
  int64_t tile_ = kDefaultTile;
  std::shared_ptr<const DecoderWeights> weights_;
};

}  // namespace intaglio::autoencoder
