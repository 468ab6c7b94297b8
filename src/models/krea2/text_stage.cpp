// The text stage of the transformer: once a picture, from the states that the text encoder gives of
// each token to the rows that the layers attend to.
#include <algorithm>
#include <array>

#include "core/memory.h"
#include "core/pace.h"
#include "models/krea2/transformer.h"
#include "ops/euler_step.h"
#include "ops/norm.h"

namespace intaglio::krea2 {
namespace {

// Tokens whose states go through their blocks together: bounds the memory of a long prompt.
constexpr int64_t kTokensAtOnce = 64;

}  // namespace

BlockSizes Transformer::text_buffer_sizes(int64_t rows) const {
  return block_buffer_sizes(config_.text_block, selection().activation_dtype(), rows);
}

size_t Transformer::text_bytes(const Context& context, const PassSize& size) const {
  const int64_t tokens = sequence(size).text;
  if (tokens == 0) return 0;
  const int64_t w = config_.text_block.width(), d = width();
  const auto of_blocks = [&](const std::vector<Block>& blocks, const AttentionDesc& desc,
                             int64_t rows) {
    size_t scratch = 0;
    for (const Block& block : blocks)
      scratch = std::max(scratch, block_scratch(context, block, desc, rows));
    return block_buffer_bytes(text_buffer_sizes(rows)) + scratch;
  };
  size_t fuse = 0;
  for (const int64_t group : {std::min(kTokensAtOnce, tokens), tokens % kTokensAtOnce}) {
    if (group > 0)
      fuse =
          std::max(fuse, of_blocks(layerwise_, text_attention(config_.taps), group * config_.taps));
  }
  const size_t refine = of_blocks(refiner_, text_attention(tokens), tokens);
  const DType type = text_out_.input_dtype();
  const size_t project =
      2 * arena_bytes<std::byte>(tokens * std::max(w, d) * static_cast<int64_t>(dtype_size(type))) +
      arena_bytes<float>(tokens) +
      std::max(linear_scratch_bytes(context, text_in_, tokens, type),
               linear_scratch_bytes(context, text_out_, tokens, DType::kF32));
  return arena_bytes<float>(tokens * w) + std::max({fuse, refine, project});
}

Status Transformer::embed_text(const Context& context, const TextInput& text,
                               TransformerSession& session) const {
  const int64_t tokens = session.rows().text;
  if (tokens == 0) return {};
  std::vector<float> weights(static_cast<size_t>(config_.taps));
  INTAGLIO_TRY(copy_out(context, weights.data(), projector_.data(), projector_.size()));
  const Arena::Scope scope(*context.scratch);
  INTAGLIO_ASSIGN(float* const fused,
                  context.scratch->take<float>(tokens * config_.text_block.width()));
  const float* const features = text.features + unread_ * text_dim();
  for (int64_t first = 0; first < tokens; first += kTokensAtOnce) {
    INTAGLIO_TRY(fuse_states(context, features + first * text_dim(),
                             std::min(kTokensAtOnce, tokens - first), weights,
                             fused + first * config_.text_block.width()));
  }
  return refine_text(context, tokens, fused, session.text());
}

Status Transformer::run_text_blocks(const Context& context, const std::vector<Block>& blocks,
                                    const AttentionDesc& attention, int64_t sequences,
                                    BlockBuffers& b) const {
  const BlockShape& shape = config_.text_block;
  INTAGLIO_TRY(begin_blocks(context, shape, blocks.front(), nullptr, b, nullptr));
  Pace pace(context);
  for (size_t i = 0; i < blocks.size(); ++i) {
    INTAGLIO_TRY(pace.next());
    INTAGLIO_TRY(run_block(context, shape, blocks[i],
                           {.attention = {.desc = attention},
                            .sequences = sequences,
                            .next = i + 1 == blocks.size() ? nullptr : &blocks[i + 1]},
                           b, nullptr));
  }
  return {};
}

// features [tokens, taps, width] -> fused [tokens, width]. A token's states are a sequence of their
// own; rows are state after state, so that each state of all tokens is one piece.
Status Transformer::fuse_states(const Context& context, const float* features, int64_t tokens,
                                std::span<const float> weights, float* fused) const {
  const Arena::Scope scope(*context.scratch);
  const int64_t w = config_.text_block.width(), taps = config_.taps;
  const size_t row = static_cast<size_t>(w) * sizeof(float);
  INTAGLIO_ASSIGN(BlockBuffers b,
                  take_block_buffers(*context.scratch, text_buffer_sizes(tokens * taps)));
  for (int64_t tap = 0; tap < taps; ++tap) {
    INTAGLIO_TRY(
        copy_inside(context, b.h + tap * tokens * w, features + tap * w,
                    {row, static_cast<size_t>(tokens), row, static_cast<size_t>(taps) * row}));
  }
  INTAGLIO_TRY(run_text_blocks(context, layerwise_, text_attention(taps), tokens, b));

  // The weighted sum, as a sampler's step backward by one from zeros.
  INTAGLIO_TRY(fill_zero(context, fused, static_cast<size_t>(tokens) * row));
  for (int64_t first = 0; first < taps; first += kMaxPasses) {
    std::array<WeightedVelocity, kMaxPasses> states;
    const auto count = static_cast<size_t>(std::min<int64_t>(kMaxPasses, taps - first));
    for (size_t i = 0; i < count; ++i) {
      const int64_t tap = first + static_cast<int64_t>(i);
      states[i] = {b.h + tap * tokens * w, weights[static_cast<size_t>(tap)]};
    }
    INTAGLIO_TRY(euler_step(context, {.x = fused,
                                      .count = tokens * w,
                                      .passes = std::span(states).first(count),
                                      .delta = -1.0f}));
  }
  return {};
}

// states [tokens, text width], which it refines in place -> rows [tokens, width]
Status Transformer::refine_text(const Context& context, int64_t tokens, float* states,
                                float* rows) const {
  const int64_t w = config_.text_block.width(), d = width();
  {
    const Arena::Scope scope(*context.scratch);
    const size_t bytes = static_cast<size_t>(tokens * w) * sizeof(float);
    INTAGLIO_ASSIGN(BlockBuffers b,
                    take_block_buffers(*context.scratch, text_buffer_sizes(tokens)));
    INTAGLIO_TRY(copy_inside(context, b.h, states, bytes));
    INTAGLIO_TRY(run_text_blocks(context, refiner_, text_attention(tokens), 1, b));
    INTAGLIO_TRY(copy_inside(context, states, b.h, bytes));
  }
  const Arena::Scope scope(*context.scratch);
  const DType type = text_out_.input_dtype();
  const int64_t bytes = tokens * std::max(w, d) * static_cast<int64_t>(dtype_size(type));
  INTAGLIO_ASSIGN(std::byte* const x, context.scratch->take<std::byte>(bytes));
  INTAGLIO_ASSIGN(std::byte* const y, context.scratch->take<std::byte>(bytes));
  INTAGLIO_ASSIGN(float* const scale_row, context.scratch->take<float>(tokens));
  const Activation normed = text_in_.input_at(x, tokens, scale_row);
  INTAGLIO_TRY(norm(context, norm_into(NormKind::kRms, config_.text_block.norm_eps, normed),
                    {.x = states, .weight = text_norm_.as<float>(), .out = normed}));
  INTAGLIO_TRY(linear(context, text_in_, normed, y, type, d));
  return linear(context, text_out_, text_out_.input_at(y, tokens, scale_row), rows, DType::kF32, d);
}

}  // namespace intaglio::krea2
