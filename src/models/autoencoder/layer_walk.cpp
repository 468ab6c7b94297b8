#include "models/autoencoder/layer_walk.h"

#include <algorithm>
#include <cmath>

#include "core/memory.h"
#include "ops/elementwise.h"
#include "ops/group_norm.h"
#include "ops/pixel_norm.h"

namespace intaglio::autoencoder {
namespace {

// Scores of an attention block: bounds its memory at any picture size. A GPU wants its products
// large.
constexpr int64_t kScoreElements = int64_t{1} << 21;
constexpr int64_t kGpuScoreElements = int64_t{1} << 25;
constexpr int64_t kMostBlockRows = 384, kGpuMostBlockRows = 8192;

}  // namespace

size_t LayerWalk::Plan::bytes() const {
  size_t sum = align_up(scratch, kCacheLine);
  for (const size_t slot : slots) sum += align_up(slot, kCacheLine);
  return sum;
}

Expected<LayerWalk::Plan> LayerWalk::plan(int64_t h, int64_t w) {
  running_ = false;
  plan_ = {};
  INTAGLIO_TRY(forward(nullptr, h, w));
  return plan_;
}

Expected<const float*> LayerWalk::run(const Plan& plan, const PlaneWindow& window, int64_t h,
                                      int64_t w, const std::function<void()>& step,
                                      Profile* profile) {
  for (size_t i = 0; i < slots_.size(); ++i) {
    INTAGLIO_ASSIGN(slots_[i],
                    context_.scratch->take<std::byte>(static_cast<int64_t>(plan.slots[i])));
  }
  running_ = true;
  pace_.emplace(context_);
  step_ = &step;
  profile_ = profile;
  INTAGLIO_TRY(forward(&window, h, w));
  return reinterpret_cast<const float*>(slots_[current_]);
}

void LayerWalk::need(size_t slot, int64_t count, DType dtype) {
  plan_.slots[slot] = std::max(plan_.slots[slot], static_cast<size_t>(count) * dtype_size(dtype));
}

void LayerWalk::need_scratch(size_t bytes) { plan_.scratch = std::max(plan_.scratch, bytes); }

Status LayerWalk::forward(const PlaneWindow* window, int64_t h, int64_t w) {
  h_ = h;
  w_ = w;
  current_ = 0;
  need(current_, pixels() * channels_, compute_);
  if (running_) INTAGLIO_TRY(read_planes(*window));
  return walk_layers();
}

Status LayerWalk::read_planes(const PlaneWindow& window) {
  std::vector<float> values(static_cast<size_t>(pixels() * channels_));
  for (int64_t c = 0; c < channels_; ++c) {
    for (int64_t p = 0; p < pixels(); ++p)
      values[static_cast<size_t>(p * channels_ + c)] = window.at(c, p / w_, p % w_);
  }
  if (compute_ != DType::kBF16)
    return copy_in(context_, slots_[current_], values.data(), values.size() * sizeof(float));
  const std::vector<BFloat16> rounded(values.begin(), values.end());
  return copy_in(context_, slots_[current_], rounded.data(), rounded.size() * sizeof(BFloat16));
}

Status LayerWalk::move(const Conv2dWeights& conv, bool f32_out) {
  const size_t next = (current_ + 1) % 3;
  INTAGLIO_TRY(convolve(conv, current_, std::nullopt, next, f32_out));
  current_ = next;
  return {};
}

Status LayerWalk::move_up(const Conv2dWeights& conv) {
  h_ *= 2;
  w_ *= 2;
  INTAGLIO_TRY(move(conv));
  return finish_step();
}

// Of the convolution with zeros all around, the odd pixels of the odd rows: none of them sees the
// zeros above and on the left. The even ones are computed for nothing, a fifth of what an encoder
// computes in all.
Status LayerWalk::move_down(const Conv2dWeights& conv) {
  INTAGLIO_TRY(move(conv));
  const size_t rows = (current_ + 1) % 3;
  const size_t odd = other(current_, rows);
  const auto pixel = static_cast<size_t>(conv.out_channels) * dtype_size(compute_);
  const size_t row = static_cast<size_t>(w_) * pixel;
  h_ /= 2;
  need(rows, pixels() * conv.out_channels, compute_);
  const StridedCopy odd_rows{.bytes = row,
                             .rows = static_cast<size_t>(h_),
                             .target_stride = row,
                             .source_stride = 2 * row};
  w_ /= 2;
  need(odd, pixels() * conv.out_channels, compute_);
  const StridedCopy odd_pixels{.bytes = pixel,
                               .rows = static_cast<size_t>(pixels()),
                               .target_stride = pixel,
                               .source_stride = 2 * pixel};
  if (running_) {
    const ProfileScope part(context_, profile_, ProfilePart::kOther);
    INTAGLIO_TRY(copy_inside(context_, slots_[rows], slots_[current_] + row, odd_rows));
    INTAGLIO_TRY(copy_inside(context_, slots_[odd], slots_[rows] + pixel, odd_pixels));
  }
  current_ = odd;
  return finish_step();
}

Status LayerWalk::mid_block(const MidBlock& mid) {
  INTAGLIO_TRY(resnet(mid.resnets[0]));
  if (mid.attention) INTAGLIO_TRY(attention(*mid.attention));
  return resnet(mid.resnets[1]);
}

Status LayerWalk::finish(const Norm& norm, const Conv2dWeights& conv, bool f32_out) {
  INTAGLIO_TRY(normalize(norm, conv.in_channels, true, current_, current_));
  return move(conv, f32_out);
}

Status LayerWalk::finish_step() {
  ++plan_.steps;
  if (!running_) return {};
  if (*step_) (*step_)();
  return pace_->next();
}

Status LayerWalk::convolve(const Conv2dWeights& conv, size_t x, std::optional<size_t> add, size_t y,
                           bool f32_out) {
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

Status LayerWalk::normalize(const Norm& norm, int64_t channels, bool silu, size_t x, size_t y) {
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

Status LayerWalk::resnet(const Resnet& r) {
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

Status LayerWalk::multiply(const FloatGemmDesc& desc, const FloatGemmArgs& args, size_t& scratch) {
  INTAGLIO_ASSIGN(const FloatGemmImplementation* const gemm, choose_float_gemm(desc, context_));
  scratch = std::max(scratch, align_up(gemm->scratch_bytes(desc, context_.threads), kCacheLine));
  if (!running_) return {};
  const ProfileScope part(context_, profile_, ProfilePart::kAttention);
  return gemm->run(context_, desc, args);
}

Status LayerWalk::attention(const Attention& a) {
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
      {.a = a.v.data(), .lda = channels, .w = slots_[x], .bias = nullptr, .out = v, .ldo = tokens},
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
      INTAGLIO_TRY(softmax_rows(context_, {.scores = reinterpret_cast<float*>(scores),
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

}  // namespace intaglio::autoencoder
