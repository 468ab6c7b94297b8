#include "skeleton/model/transformer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "core/memory.h"
#include "core/pace.h"
#include "models/parts/rope.h"
#include "models/parts/time_embedding.h"
#include "ops/elementwise.h"
#include "ops/norm.h"

namespace intaglio::skeleton_model {
namespace {

constexpr double kTimeScale = 1000.0;

}  // namespace

Status Transformer::walk(ModuleVisitor& v) {
  const int64_t d = width();
  const auto single = [&](const char* name, int64_t n, int64_t k, LinearWeights& weights) {
    return v.linear({.names = {name}, .rows = {n}, .k = k, .bias = true}, weights);
  };
  INTAGLIO_TRY(single("image_in", d, config_.channels, image_in_));
  INTAGLIO_TRY(single("text_in", d, config_.text_dim, text_in_));
  INTAGLIO_TRY(single("time_in", d, d, time_in_));
  INTAGLIO_TRY(single("modulation", 4 * d, d, modulation_));
  INTAGLIO_TRY(single("final", config_.channels, d, final_));
  blocks_.resize(static_cast<size_t>(config_.layers));
  for (int64_t i = 0; i < config_.layers; ++i) {
    v.begin_layer(i, fmt::format("layers.{}.", i));
    INTAGLIO_TRY(walk_gated_block(v, sizes_, Residence::kLayer, LinearRows::kSequence,
                                  blocks_[static_cast<size_t>(i)]));
  }
  return {};
}

std::vector<intaglio::Transformer::LayerStack> Transformer::layer_stacks() const {
  return {{"layers.", config_.layers, "num_layers"}};
}

SessionTables Transformer::session_tables() const {
  return {.text_width = width(), .angles = config_.head_dim / 2, .blocks = 1, .block = 4 * width()};
}

AttentionDesc Transformer::attention_desc(const Context& context, int64_t rows) const {
  return with_scores(context, {.tokens = rows,
                               .heads = config_.heads,
                               .kv_heads = config_.heads,
                               .head_dim = config_.head_dim,
                               .dtype = selection().activation_dtype()});
}

// Image token (y, x) is at (y, x), text does not turn: its order is in the features.
void Transformer::fill_rope(const TransformerSession& session, float* cos, float* sin) const {
  const std::array<int64_t, 2> axes{config_.head_dim / 2, config_.head_dim / 2};
  const RopeFrequencies rope = split_rope(config_.rope_theta, axes);
  const auto write = [&](int64_t y, int64_t x) {
    const std::array<double, 2> position{static_cast<double>(y), static_cast<double>(x)};
    write_rope_row(rope, position, cos, sin);
  };
  const PassSize& size = session.size();
  for (int64_t y = 0; y < size.grid_h; ++y)
    for (int64_t x = 0; x < size.grid_w; ++x) write(y, x);
  for (int64_t i = 0; i < size.text_tokens; ++i) write(0, 0);
}

BlockSizes Transformer::buffer_sizes(int64_t rows) const {
  return gated_block_buffers(sizes_, selection().activation_dtype(), rows, config_.channels);
}

// What embed_times, embed_text and forward take, each in a scope of its own.
size_t Transformer::scratch_bytes(const Context& context, const PassSize& size,
                                  int64_t steps) const {
  const auto of_linear = [&](const LinearWeights& weights, int64_t rows) {
    return rows == 0 ? 0 : linear_scratch_bytes(context, weights, rows, DType::kF32);
  };
  const size_t times = 3 * arena_bytes<float>(steps * width()) +
                       std::max(of_linear(time_in_, steps), of_linear(modulation_, steps));
  const size_t text = arena_bytes<float>(size.text_tokens * config_.text_dim) +
                      of_linear(text_in_, size.text_tokens);
  const SequenceRows rows = sequence(size);
  size_t pass = std::max(of_linear(image_in_, rows.image), of_linear(final_, rows.image));
  for (const GatedBlock& block : blocks_)
    pass = std::max(pass, gated_block_scratch(context, block, attention_desc(context, rows.all())));
  return std::max({times, text, block_buffer_bytes(buffer_sizes(rows.all())) + pass});
}

Status Transformer::embed_times(const Context& context, std::span<const float> times,
                                TransformerSession& session) const {
  const Arena::Scope scope(*context.scratch);
  const auto steps = static_cast<int64_t>(times.size());
  const int64_t d = width();
  INTAGLIO_ASSIGN(float* const x, context.scratch->take<float>(steps * d));
  INTAGLIO_ASSIGN(float* const y, context.scratch->take<float>(steps * d));
  INTAGLIO_ASSIGN(float* const storage, context.scratch->take<float>(steps * d));
  // Neither is quantized, so their inputs have no scales.
  const auto apply = [&](const LinearWeights& weights, const float* in, float* out) -> Status {
    INTAGLIO_ASSIGN(const Activation input,
                    as_linear_input(context, weights, in, DType::kF32, steps, storage, nullptr));
    return linear(context, weights, input, out, DType::kF32, weights.n);
  };
  std::vector<float> embedding(static_cast<size_t>(steps * d));
  for (size_t s = 0; s < times.size(); ++s)
    fill_time_embedding(
        kTimeScale * static_cast<double>(times[s]),
        std::span(embedding).subspan(s * static_cast<size_t>(d), static_cast<size_t>(d)));
  INTAGLIO_TRY(copy_in(context, x, embedding.data(), embedding.size() * sizeof(float)));
  INTAGLIO_TRY(apply(time_in_, x, y));
  INTAGLIO_TRY(activate_in_place(
      context, {.x = y, .rows = steps, .cols = d, .ld = d, .function = Nonlinearity::kSilu}));
  return apply(modulation_, y, session.block_modulations(0));
}

Status Transformer::embed_text(const Context& context, const TextInput& text,
                               TransformerSession& session) const {
  const Arena::Scope scope(*context.scratch);
  INTAGLIO_ASSIGN(float* const storage,
                  context.scratch->take<float>(text.tokens * config_.text_dim));
  INTAGLIO_ASSIGN(const Activation input,
                  as_linear_input(context, text_in_, text.features, DType::kF32, text.tokens,
                                  storage, nullptr));
  return linear(context, text_in_, input, session.text(), DType::kF32, width());
}

Status Transformer::run_blocks(const Context& context, const TransformerSession& session,
                               BlockBuffers& b, Profile* profile, const BlockCache& cache) const {
  const size_t count = cache.last_of(blocks_.size());
  const int64_t image_values = session.rows().image * width();
  StreamPass stream = layer_pass(context, count);
  INTAGLIO_TRY(stream.begin());
  const float* const modulation = session.block_modulation(0);
  INTAGLIO_TRY(begin_gated_blocks(context, sizes_, blocks_.front(), modulation, b, profile));
  Pace pace(context);
  for (size_t i = 0; i < count; ++i) {
    INTAGLIO_TRY(pace.next());
    INTAGLIO_TRY(cache.before_block(context, i, b.h, image_values));
    if (streams(i)) INTAGLIO_TRY(stream.acquire());
    INTAGLIO_TRY(run_gated_block(context, sizes_, blocks_[i],
                                 {.attention = {.desc = attention_desc(context, b.tokens)},
                                  .rope = session.rope(),
                                  .modulation = modulation,
                                  .next = i + 1 == count ? nullptr : &blocks_[i + 1],
                                  .next_modulation = modulation},
                                 b, profile));
    if (streams(i)) INTAGLIO_TRY(stream.release());
  }
  INTAGLIO_TRY(stream.end());
  return cache.finish(context, b.h, image_values);
}

Status Transformer::forward(const Context& context, const TransformerSession& session,
                            const float* latents, float* velocity, Profile* profile,
                            const BlockCache& cache) const {
  const Arena::Scope scope(*context.scratch);
  const int64_t d = width();
  const SequenceRows& rows = session.rows();
  INTAGLIO_ASSIGN(BlockBuffers b, take_block_buffers(*context.scratch, buffer_sizes(rows.all())));
  INTAGLIO_ASSIGN(const Activation image, as_linear_input(context, image_in_, latents, DType::kF32,
                                                          rows.image, b.input, b.scale_row));
  {
    const ProfileScope part(context, profile, ProfilePart::kLinear, "input");
    INTAGLIO_TRY(linear(context, image_in_, image, b.h, DType::kF32, d));
  }
  INTAGLIO_TRY(copy_inside(context, b.h + rows.image * d, session.text(),
                           static_cast<size_t>(rows.text * d) * sizeof(float)));
  INTAGLIO_TRY(run_blocks(context, session, b, profile, cache));
  const Activation last = final_.input_at(b.input, rows.image, b.scale_row);
  {
    const ProfileScope part(context, profile, ProfilePart::kNorm);
    INTAGLIO_TRY(norm(context, norm_into(NormKind::kLayer, config_.norm_eps, last),
                      {.x = b.h, .out = last}));
  }
  const ProfileScope part(context, profile, ProfilePart::kLinear, "output");
  return linear(context, final_, last, velocity, DType::kF32, config_.channels);
}

}  // namespace intaglio::skeleton_model
