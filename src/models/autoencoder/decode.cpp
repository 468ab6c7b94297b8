// The forward pass of the decoder. One walk through the layers serves the plan and the run: without
// a context it only notes what memory each layer takes, so the plan is exact by construction.
#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <optional>

#include "core/memory.h"
#include "core/pace.h"
#include "core/parallel.h"
#include "models/autoencoder/decoder.h"
#include "models/autoencoder/decoder_weights.h"
#include "ops/elementwise.h"
#include "ops/float_gemm.h"
#include "ops/group_norm.h"
#include "ops/pixel_norm.h"

namespace intaglio::autoencoder {
namespace {

// Scores of an attention block: bounds its memory at any picture size. A GPU wants its products
// large.
constexpr int64_t kScoreElements = int64_t{1} << 21;
constexpr int64_t kGpuScoreElements = int64_t{1} << 25;
constexpr int64_t kMostBlockRows = 384, kGpuMostBlockRows = 8192;

// One tile's latents: channel c of position (y, x).
struct LatentWindow {
  const float* latent = nullptr;  // [channels, h, w]
  int64_t h = 0, w = 0, first_row = 0, first_column = 0;
  float at(int64_t c, int64_t y, int64_t x) const {
    return latent[(c * h + first_row + y) * w + first_column + x];
  }
};

class Walk {
 public:
  // What memory a walk takes.
  struct Plan {
    std::array<size_t, 3> slots{};
    size_t scratch = 0;  // of the layer that takes most
    int64_t steps = 0;

    size_t bytes() const {
      size_t sum = align_up(scratch, kCacheLine);
      for (const size_t slot : slots) sum += align_up(slot, kCacheLine);
      return sum;
    }
  };

  Walk(const DecoderConfig& config, const DecoderWeights& weights, DType compute,
       const Context& context)
      : config_(config), weights_(weights), compute_(compute), context_(context) {}

  Expected<Plan> plan(int64_t h, int64_t w) {
    running_ = false;
    plan_ = {};
    INTAGLIO_TRY(forward(nullptr, h, w));
    return plan_;
  }

  // Returns the picture [pixels, 3] floats in the arena, valid while the caller's scope lasts.
  Expected<const float*> run(const Plan& plan, const LatentWindow& latent, int64_t h, int64_t w,
                             const std::function<void()>& step, Profile* profile) {
    for (size_t i = 0; i < slots_.size(); ++i) {
      INTAGLIO_ASSIGN(slots_[i],
                      context_.scratch->take<std::byte>(static_cast<int64_t>(plan.slots[i])));
    }
    running_ = true;
    pace_.emplace(context_);
    step_ = &step;
    profile_ = profile;
    INTAGLIO_TRY(forward(&latent, h, w));
    return reinterpret_cast<const float*>(slots_[current_]);
  }

 private:
  int64_t pixels() const { return h_ * w_; }

  // `count` elements of slot `slot` are about to be written.
  void need(size_t slot, int64_t count, DType dtype) {
    plan_.slots[slot] = std::max(plan_.slots[slot], static_cast<size_t>(count) * dtype_size(dtype));
  }
  void need_scratch(size_t bytes) { plan_.scratch = std::max(plan_.scratch, bytes); }

  // Between blocks of layers: progress, and the caller's wish to stop.
  Status finish_step() {
    ++plan_.steps;
    if (!running_) return {};
    if (*step_) (*step_)();
    return pace_->next();
  }

  // The slot that is neither of the two.
  static size_t other(size_t a, size_t b) { return 3 - a - b; }

  Status convolve(const Conv2dWeights& conv, size_t x, std::optional<size_t> add, size_t y,
                  bool f32_out = false) {
    const Conv2dDesc desc{.height = h_,
                          .width = w_,
                          .in_channels = conv.in_channels,
                          .out_channels = conv.out_channels,
                          .kernel = conv.kernel,
                          .upsample = conv.upsample,
                          .dtype = compute_,
                          .f32_out = f32_out};
    need(y, pixels() * conv.out_channels, desc.out_dtype());
    need_scratch(conv2d_scratch_bytes(desc, conv, context_.threads));
    if (!running_) return {};
    const ProfileScope part(context_, profile_, ProfilePart::kConv);
    return conv2d(context_, desc, conv, slots_[x], add ? slots_[*add] : nullptr, slots_[y]);
  }

  Status normalize(const DecoderWeights::Norm& norm, int64_t channels, bool silu, size_t x,
                   size_t y) {
    if (config_.family == DecoderFamily::kWan) {
      need(y, pixels() * channels, compute_);
      if (!running_) return {};
      const ProfileScope part(context_, profile_, ProfilePart::kNorm);
      return pixel_norm(context_, {.x = slots_[x],
                                   .weight = norm.weight.as<float>(),
                                   .y = slots_[y],
                                   .pixels = pixels(),
                                   .channels = channels,
                                   .silu = silu,
                                   .dtype = compute_});
    }
    const GroupNormDesc desc{.pixels = pixels(),
                             .channels = channels,
                             .groups = config_.norm_groups,
                             .eps = config_.norm_eps,
                             .silu = silu,
                             .dtype = compute_};
    need(y, pixels() * channels, compute_);
    need_scratch(group_norm_scratch_bytes(context_, desc));
    if (!running_) return {};
    const ProfileScope part(context_, profile_, ProfilePart::kGroupNorm);
    return group_norm(context_, desc,
                      {.x = slots_[x],
                       .weight = norm.weight.as<float>(),
                       .bias = norm.bias.as<float>(),
                       .y = slots_[y]});
  }

  Status resnet(const DecoderWeights::Resnet& r) {
    const size_t inner = (current_ + 1) % 3;
    const size_t outer = other(current_, inner);
    INTAGLIO_TRY(normalize(r.norm1, r.conv1.in_channels, true, current_, inner));
    INTAGLIO_TRY(convolve(r.conv1, inner, std::nullopt, outer));
    INTAGLIO_TRY(normalize(r.norm2, r.conv2.in_channels, true, outer, outer));
    if (r.shortcut) {
      INTAGLIO_TRY(convolve(*r.shortcut, current_, std::nullopt, inner));
      INTAGLIO_TRY(convolve(r.conv2, outer, inner, inner));
      current_ = inner;
    } else {
      INTAGLIO_TRY(convolve(r.conv2, outer, current_, current_));
    }
    return finish_step();
  }

  // One product of the attention with the float_gemm op; notes its scratch.
  Status multiply(const FloatGemmDesc& desc, const FloatGemmArgs& args, size_t& scratch) {
    INTAGLIO_ASSIGN(const FloatGemmImplementation* const gemm, choose_float_gemm(desc, context_));
    scratch = std::max(scratch, align_up(gemm->scratch_bytes(desc, context_.threads), kCacheLine));
    if (!running_) return {};
    const ProfileScope part(context_, profile_, ProfilePart::kAttention);
    return gemm->run(context_, desc, args);
  }

  // h += out(softmax(q k^T / sqrt(c)) v), one head, blocks of rows. v is computed transposed (what
  // the second product reads); its bias passes through the softmax unchanged, since rows sum to 1,
  // and joins the second product.
  Status attention(const DecoderWeights::Attention& a) {
    const int64_t tokens = pixels();
    const int64_t channels = a.q.in_channels;
    const bool gpu = context_.gpu != nullptr;
    const int64_t block =
        std::clamp<int64_t>((gpu ? kGpuScoreElements : kScoreElements) / tokens, 1,
                            std::min(gpu ? kGpuMostBlockRows : kMostBlockRows, tokens));
    const size_t x = (current_ + 1) % 3;
    const size_t q = other(current_, x);
    INTAGLIO_TRY(normalize(a.norm, channels, false, current_, x));
    INTAGLIO_TRY(convolve(a.q, x, std::nullopt, q));

    const int64_t element = static_cast<int64_t>(dtype_size(compute_));
    size_t own = 0;
    size_t nested = 0;
    std::optional<Arena::Scope> scope;
    if (running_) scope.emplace(*context_.scratch);
    const auto take = [&](int64_t bytes) -> Expected<std::byte*> {
      own += arena_bytes<std::byte>(bytes);
      if (!running_) return nullptr;
      return context_.scratch->take<std::byte>(bytes);
    };
    INTAGLIO_ASSIGN(std::byte* const k, take(tokens * channels * element));
    INTAGLIO_ASSIGN(std::byte* const v, take(tokens * channels * element));
    INTAGLIO_ASSIGN(std::byte* const scores, take(block * tokens * 4));
    INTAGLIO_ASSIGN(std::byte* const weights,
                    take(compute_ == DType::kBF16 ? block * tokens * element : 0));
    const Conv2dDesc key_desc{.height = h_,
                              .width = w_,
                              .in_channels = channels,
                              .out_channels = channels,
                              .kernel = 1,
                              .dtype = compute_};
    nested = conv2d_scratch_bytes(key_desc, a.k, context_.threads);
    if (running_) INTAGLIO_TRY(conv2d(context_, key_desc, a.k, slots_[x], nullptr, k));
    INTAGLIO_TRY(multiply(
        {.m = channels, .n = tokens, .k = channels, .in_dtype = compute_, .out_dtype = compute_},
        {.a = a.v.data(),
         .lda = channels,
         .w = slots_[x],
         .bias = nullptr,
         .out = v,
         .ldo = tokens},
        nested));
    for (int64_t row = 0; row < tokens; row += block) {
      const int64_t rows = std::min(block, tokens - row);
      std::byte* const q_rows = running_ ? slots_[q] + row * channels * element : nullptr;
      INTAGLIO_TRY(multiply(
          {.m = rows, .n = tokens, .k = channels, .in_dtype = compute_, .out_dtype = DType::kF32},
          {.a = q_rows, .lda = channels, .w = k, .bias = nullptr, .out = scores, .ldo = tokens},
          nested));
      std::byte* const p = compute_ == DType::kBF16 ? weights : scores;
      if (running_) {
        const ProfileScope part(context_, profile_, ProfilePart::kAttention);
        INTAGLIO_TRY(
            softmax_rows(context_, {.scores = reinterpret_cast<float*>(scores),
                                    .out = p,
                                    .rows = rows,
                                    .cols = tokens,
                                    .scale = 1.0f / std::sqrt(static_cast<float>(channels)),
                                    .out_dtype = compute_}));
      }
      // The rows of q are used up: their results take their place.
      INTAGLIO_TRY(multiply({.m = rows,
                             .n = channels,
                             .k = tokens,
                             .in_dtype = compute_,
                             .out_dtype = compute_,
                             .has_bias = true},
                            {.a = p,
                             .lda = tokens,
                             .w = v,
                             .bias = a.v_bias.as<float>(),
                             .out = q_rows,
                             .ldo = channels},
                            nested));
    }
    need_scratch(own + nested);
    scope.reset();
    INTAGLIO_TRY(convolve(a.out, q, current_, current_));
    return finish_step();
  }

  Status read_latent(const LatentWindow& latent) {
    const int64_t channels = config_.latent_channels;
    std::vector<float> values(static_cast<size_t>(pixels() * channels));
    for (int64_t c = 0; c < channels; ++c) {
      for (int64_t p = 0; p < pixels(); ++p)
        values[static_cast<size_t>(p * channels + c)] = latent.at(c, p / w_, p % w_);
    }
    if (compute_ != DType::kBF16)
      return copy_in(context_, slots_[current_], values.data(), values.size() * sizeof(float));
    const std::vector<BFloat16> rounded(values.begin(), values.end());
    return copy_in(context_, slots_[current_], rounded.data(), rounded.size() * sizeof(BFloat16));
  }

  // conv from the current slot into the next.
  Status move(const Conv2dWeights& conv, bool f32_out = false) {
    const size_t next = (current_ + 1) % 3;
    INTAGLIO_TRY(convolve(conv, current_, std::nullopt, next, f32_out));
    current_ = next;
    return {};
  }

  Status forward(const LatentWindow* latent, int64_t h, int64_t w) {
    h_ = h;
    w_ = w;
    current_ = 0;
    need(current_, pixels() * config_.latent_channels, compute_);
    if (running_) INTAGLIO_TRY(read_latent(*latent));
    if (weights_.post_quant) INTAGLIO_TRY(move(*weights_.post_quant));
    INTAGLIO_TRY(move(weights_.conv_in));
    INTAGLIO_TRY(resnet(weights_.mid[0]));
    if (weights_.attention) INTAGLIO_TRY(attention(*weights_.attention));
    INTAGLIO_TRY(resnet(weights_.mid[1]));
    for (const DecoderWeights::UpBlock& block : weights_.up) {
      for (const DecoderWeights::Resnet& r : block.resnets) INTAGLIO_TRY(resnet(r));
      if (block.upsampler) {
        h_ *= 2;
        w_ *= 2;
        INTAGLIO_TRY(move(*block.upsampler));
        INTAGLIO_TRY(finish_step());
      }
    }
    INTAGLIO_TRY(
        normalize(weights_.norm_out, weights_.conv_out.in_channels, true, current_, current_));
    INTAGLIO_TRY(move(weights_.conv_out, true));
    return finish_step();
  }

  const DecoderConfig& config_;
  const DecoderWeights& weights_;
  DType compute_;
  const Context& context_;
  bool running_ = false;
  const std::function<void()>* step_ = nullptr;
  std::optional<Pace> pace_;  // of the tile at work
  Profile* profile_ = nullptr;
  Plan plan_;
  std::array<std::byte*, 3> slots_{};
  size_t current_ = 0;
  int64_t h_ = 0, w_ = 0;
};

// Tiles along one axis: equal sizes, evenly spaced, each pair of neighbours sharing at least a
// quarter of a tile.
struct Axis {
  int64_t size = 0, tile = 0, count = 1;

  Axis(int64_t total, int64_t limit) : size(total), tile(std::min(total, limit)) {
    if (tile < size) {
      const int64_t stride = std::max<int64_t>(1, tile - tile / 4);
      count = (size - tile + stride - 1) / stride + 1;
    }
  }
  int64_t start(int64_t i) const { return count == 1 ? 0 : (size - tile) * i / (count - 1); }

  // Share of tile i in each of its positions, in steps of a `scale`-th latent: ramps over a quarter
  // of a tile toward its neighbours, divided by the sum over the tiles that cover the position.
  std::vector<float> shares(int64_t i, int64_t scale) const {
    std::vector<float> result(static_cast<size_t>(tile * scale));
    for (int64_t p = 0; p < tile * scale; ++p) {
      const int64_t at = start(i) * scale + p;
      double sum = 0.0;
      for (int64_t j = 0; j < count; ++j) sum += ramp(j, at, scale);
      result[static_cast<size_t>(p)] = static_cast<float>(ramp(i, at, scale) / sum);
    }
    return result;
  }

 private:
  double ramp(int64_t i, int64_t at, int64_t scale) const {
    const int64_t first = start(i) * scale;
    if (at < first || at >= first + tile * scale) return 0.0;
    double height = static_cast<double>(std::max<int64_t>(1, tile / 4) * scale);
    if (i > 0) height = std::min(height, static_cast<double>(at - first) + 0.5);
    if (i + 1 < count)
      height = std::min(height, static_cast<double>(first + tile * scale - at) - 0.5);
    return height;
  }
};

}  // namespace

size_t Decoder::scratch_bytes(const Context& context, int64_t h, int64_t w) const {
  const auto plan =
      Walk(config_, *weights_, compute_, context).plan(std::min(h, tile_), std::min(w, tile_));
  return plan ? plan->bytes() : 0;
}

uint64_t Decoder::planned_bytes(const Context& context, const DecoderConfig& config, DType compute,
                                int64_t height, int64_t width) {
  const auto weights = describe_decoder(context, config, compute);
  if (!weights) return 0;
  const int64_t scale = config.scale_factor();
  const auto plan = Walk(config, *weights, compute, context)
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
  const Axis rows(h, std::max<int64_t>(1, tile_));
  const Axis columns(w, std::max<int64_t>(1, tile_));
  Walk walk(config_, *weights_, compute_, context);
  INTAGLIO_ASSIGN(const Walk::Plan plan, walk.plan(rows.tile, columns.tile));
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
