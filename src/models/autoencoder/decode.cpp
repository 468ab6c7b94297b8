// The forward pass of the decoder.
#include <algorithm>
#include <functional>

#include "core/memory.h"
#include "models/autoencoder/decoder.h"
#include "models/autoencoder/decoder_weights.h"
#include "models/autoencoder/layer_walk.h"
#include "models/autoencoder/tile_axis.h"
#include "ops/elementwise.h"

namespace intaglio::autoencoder {
namespace {

class DecoderWalk : public LayerWalk {
 public:
  DecoderWalk(const Context& context, const DecoderConfig& config, const DecoderWeights& weights,
              DType compute)
      : LayerWalk(context, config, compute, config.latent_channels), weights_(weights) {}

 private:
  Status walk_layers() override {
    if (weights_.post_quant) INTAGLIO_TRY(move(*weights_.post_quant));
    INTAGLIO_TRY(move(weights_.conv_in));
    INTAGLIO_TRY(mid_block(weights_.mid));
    for (const DecoderWeights::UpBlock& block : weights_.up) {
      for (const Resnet& r : block.resnets) INTAGLIO_TRY(resnet(r));
      if (block.upsampler) INTAGLIO_TRY(move_up(*block.upsampler));
    }
    INTAGLIO_TRY(finish(weights_.norm_out, weights_.conv_out, true));
    return finish_step();
  }

  const DecoderWeights& weights_;
};

}  // namespace

size_t Decoder::scratch_bytes(const Context& context, int64_t h, int64_t w) const {
  const auto plan = DecoderWalk(context, config_, *weights_, compute_)
                        .plan(std::min(h, tile_), std::min(w, tile_));
  return plan ? plan->bytes() : 0;
}

uint64_t Decoder::planned_bytes(const Context& context, const DecoderConfig& config, DType compute,
                                int64_t height, int64_t width) {
  const auto weights = describe_decoder(context, config, compute);
  if (!weights) return 0;
  const int64_t scale = config.scale_factor();
  const auto plan = DecoderWalk(context, config, *weights, compute)
                        .plan(std::clamp<int64_t>(height / scale, 1, kDefaultTile),
                              std::clamp<int64_t>(width / scale, 1, kDefaultTile));
  return plan ? plan->bytes() : 0;
}

Status Decoder::decode(const Context& context, const float* latent, int64_t h, int64_t w,
                       float* image, const Progress& progress, Profile* profile) const {
  constexpr int64_t kMaxLatents = 1 << 16;
  if (h < 1 || w < 1 || h > kMaxLatents || w > kMaxLatents) {
    return make_error(ErrorCode::kInvalidArgument,
                      "VAE: latents of {} x {}, expected 1 to {} each way", h, w, kMaxLatents);
  }
  if (context.scratch == nullptr)
    return make_error(ErrorCode::kInvalidArgument, "VAE: context.scratch is null");
  const TileAxis rows(h, std::max<int64_t>(1, tile_));
  const TileAxis columns(w, std::max<int64_t>(1, tile_));
  DecoderWalk walk(context, config_, *weights_, compute_);
  INTAGLIO_ASSIGN(const LayerWalk::Plan plan, walk.plan(rows.tile, columns.tile));
  const int64_t scale = config_.scale_factor();
  const int64_t width = w * scale;
  const int64_t total = plan.steps * rows.count * columns.count;
  int64_t done = 0;
  const std::function<void()> step = [&] {
    ++done;
    if (progress) progress(done, total);
  };
  const auto bytes = static_cast<size_t>(3 * h * scale * width) * sizeof(float);
  INTAGLIO_ASSIGN(const AlignedBuffer picture, allocate(context, bytes));
  INTAGLIO_TRY(fill_zero(context, picture.data(), bytes));
  for (int64_t i = 0; i < rows.count; ++i) {
    INTAGLIO_ASSIGN(const AlignedBuffer row_share, upload(context, rows.shares(i, scale)));
    for (int64_t j = 0; j < columns.count; ++j) {
      INTAGLIO_ASSIGN(const AlignedBuffer column_share, upload(context, columns.shares(j, scale)));
      const Arena::Scope scope(*context.scratch);
      INTAGLIO_ASSIGN(const float* const tile,
                      walk.run(plan, {latent, h, w, rows.start(i), columns.start(j)}, rows.tile,
                               columns.tile, step, profile));
      const ProfileScope part(context, profile, ProfilePart::kOther);
      INTAGLIO_TRY(place_tile(context, {.tile = tile,
                                        .picture = picture.as<float>(),
                                        .height = h * scale,
                                        .width = width,
                                        .tile_height = rows.tile * scale,
                                        .tile_width = columns.tile * scale,
                                        .first_row = rows.start(i) * scale,
                                        .first_column = columns.start(j) * scale,
                                        .row_share = row_share.as<float>(),
                                        .column_share = column_share.as<float>()}));
      INTAGLIO_TRY(synchronize(context));  // the shares go away
    }
  }
  return copy_out(context, image, picture.data(), bytes);
}

}  // namespace intaglio::autoencoder
