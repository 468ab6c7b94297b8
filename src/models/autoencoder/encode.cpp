// The forward pass of the encoder.
#include <algorithm>

#include "core/memory.h"
#include "models/autoencoder/encoder.h"
#include "models/autoencoder/encoder_weights.h"
#include "models/autoencoder/layer_walk.h"
#include "models/autoencoder/tile_axis.h"

namespace intaglio::autoencoder {
namespace {

class EncoderWalk : public LayerWalk {
 public:
  EncoderWalk(const Context& context, const DecoderConfig& config, const EncoderWeights& weights,
              DType compute)
      : LayerWalk(context, config, compute, 3), weights_(weights) {}

 private:
  Status walk_layers() override {
    INTAGLIO_TRY(move(weights_.conv_in));
    for (const EncoderWeights::DownBlock& block : weights_.down) {
      for (const Resnet& r : block.resnets) INTAGLIO_TRY(resnet(r));
      if (block.downsampler) INTAGLIO_TRY(move_down(*block.downsampler));
    }
    INTAGLIO_TRY(mid_block(weights_.mid));
    INTAGLIO_TRY(finish(weights_.norm_out, weights_.conv_out, !weights_.quant));
    if (weights_.quant) INTAGLIO_TRY(move(*weights_.quant, true));
    return finish_step();
  }

  const EncoderWeights& weights_;
};

// Where a tile lies among all latents, and its shares in them by row and column.
struct PlacedTile {
  int64_t h = 0, w = 0;  // of all
  int64_t first_row = 0, first_column = 0;
  std::span<const float> row_shares, column_shares;
};

// moments: [tile's rows, columns, 2 * channels], host memory; the means join latent [channels, h,
// w].
void add_means(std::span<const float> moments, int64_t channels, const PlacedTile& tile,
               float* latent) {
  const auto rows = static_cast<int64_t>(tile.row_shares.size());
  const auto columns = static_cast<int64_t>(tile.column_shares.size());
  for (int64_t c = 0; c < channels; ++c) {
    for (int64_t y = 0; y < rows; ++y) {
      float* const line = latent + (c * tile.h + tile.first_row + y) * tile.w + tile.first_column;
      for (int64_t x = 0; x < columns; ++x) {
        const float share =
            tile.row_shares[static_cast<size_t>(y)] * tile.column_shares[static_cast<size_t>(x)];
        line[x] += share * moments[static_cast<size_t>((y * columns + x) * 2 * channels + c)];
      }
    }
  }
}

}  // namespace

size_t Encoder::scratch_bytes(const Context& context, int64_t h, int64_t w) const {
  const int64_t scale = config_.scale_factor();
  const auto plan = EncoderWalk(context, config_, *weights_, compute_)
                        .plan(std::min(h, tile_) * scale, std::min(w, tile_) * scale);
  return plan ? plan->bytes() : 0;
}

uint64_t Encoder::planned_bytes(const Context& context, const DecoderConfig& config, DType compute,
                                int64_t height, int64_t width) {
  const auto weights = describe_encoder(context, config, compute);
  if (!weights) return 0;
  const int64_t scale = config.scale_factor();
  const int64_t most = Decoder::kDefaultTile * scale;
  const auto plan = EncoderWalk(context, config, *weights, compute)
                        .plan(std::clamp(height / scale * scale, scale, most),
                              std::clamp(width / scale * scale, scale, most));
  return plan ? plan->bytes() : 0;
}

Status Encoder::encode(const Context& context, const float* image, int64_t h, int64_t w,
                       float* latent, const Progress& progress) const {
  constexpr int64_t kMaxLatents = 1 << 16;
  if (h < 1 || w < 1 || h > kMaxLatents || w > kMaxLatents) {
    return make_error(ErrorCode::kInvalidArgument,
                      "VAE: latents of {} x {}, expected 1 to {} each way", h, w, kMaxLatents);
  }
  if (context.scratch == nullptr)
    return make_error(ErrorCode::kInvalidArgument, "VAE: context.scratch is null");
  const TileAxis rows(h, std::max<int64_t>(1, tile_));
  const TileAxis columns(w, std::max<int64_t>(1, tile_));
  const int64_t scale = config_.scale_factor(), channels = config_.latent_channels;
  EncoderWalk walk(context, config_, *weights_, compute_);
  INTAGLIO_ASSIGN(const LayerWalk::Plan plan, walk.plan(rows.tile * scale, columns.tile * scale));
  const int64_t total = plan.steps * rows.count * columns.count;
  int64_t done = 0;
  const std::function<void()> step = [&] {
    ++done;
    if (progress) progress(done, total);
  };
  std::fill_n(latent, channels * h * w, 0.0f);
  std::vector<float> moments(static_cast<size_t>(2 * channels * rows.tile * columns.tile));
  for (int64_t i = 0; i < rows.count; ++i) {
    const std::vector<float> row_shares = rows.shares(i, 1);
    for (int64_t j = 0; j < columns.count; ++j) {
      const std::vector<float> column_shares = columns.shares(j, 1);
      const Arena::Scope scope(*context.scratch);
      const PlaneWindow window{.planes = image,
                               .height = h * scale,
                               .width = w * scale,
                               .first_row = rows.start(i) * scale,
                               .first_column = columns.start(j) * scale};
      INTAGLIO_ASSIGN(const float* const tile, walk.run(plan, window, rows.tile * scale,
                                                        columns.tile * scale, step, nullptr));
      INTAGLIO_TRY(copy_out(context, moments.data(), tile, moments.size() * sizeof(float)));
      add_means(moments, channels,
                {.h = h,
                 .w = w,
                 .first_row = rows.start(i),
                 .first_column = columns.start(j),
                 .row_shares = row_shares,
                 .column_shares = column_shares},
                latent);
    }
  }
  return {};
}

}  // namespace intaglio::autoencoder
