#include "models/krea2/transformer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "core/memory.h"
#include "core/pace.h"
#include "models/krea2/aliases.h"
#include "models/parts/rope.h"
#include "models/parts/time_embedding.h"
#include "ops/elementwise.h"
#include "ops/norm.h"

namespace intaglio::krea2 {
namespace {

constexpr double kTimeScale = 1000.0;

constexpr BlockLabels kLayerLabels{"qgkv", "out", "gate_up", "down", LinearRows::kSequence};
constexpr BlockLabels kTextLabels{"text_qgkv", "text_out", "text_gate_up", "text_down",
                                  LinearRows::kText};

}  // namespace

std::span<const ModuleAlias> Transformer::aliases() const { return original_names(); }

Status Transformer::walk(ModuleVisitor& v) {
  const TransformerConfig& c = config_;
  const int64_t d = width();
  const auto single = [&](const char* name, int64_t n, int64_t k, LinearWeights& weights,
                          GemmEpilogue epilogue = GemmEpilogue::kNone) {
    return v.linear({.names = {name}, .rows = {n}, .k = k, .bias = true, .epilogue = epilogue},
                    weights);
  };
  INTAGLIO_TRY(single("img_in", d, c.channels, image_in_));
  INTAGLIO_TRY(
      single("time_embed.linear_1", d, c.time_frequencies, time_in_, GemmEpilogue::kGeluTanh));
  INTAGLIO_TRY(single("time_embed.linear_2", d, d, time_out_));
  INTAGLIO_TRY(single("final_layer.linear", c.channels, d, final_linear_));
  INTAGLIO_TRY(v.raised_vector("final_layer.norm.weight", Shape{d}, final_norm_));
  INTAGLIO_TRY(v.vector("final_layer.scale_shift_table", Shape{2, d}, final_table_));
  INTAGLIO_TRY(walk_text(v));
  layers_.resize(static_cast<size_t>(c.layers));
  for (int64_t i = 0; i < c.layers; ++i) {
    Layer& layer = layers_[static_cast<size_t>(i)];
    v.begin_layer(i, fmt::format("transformer_blocks.{}.", i));
    INTAGLIO_TRY(walk_block(v, c.block, Residence::kLayer, kLayerLabels, layer.block));
    INTAGLIO_TRY(v.vector("scale_shift_table", Shape{kModulationRows, d}, layer.table));
    if (i > 0) continue;
    // Of all layers, and read once a picture: it comes with the first.
    v.set_prefix("");
    INTAGLIO_TRY(v.linear({.names = {"time_mod_proj"},
                           .rows = {kModulationRows * d},
                           .k = d,
                           .bias = true,
                           .residence = Residence::kOnce},
                          modulation_));
  }
  return {};
}

Status Transformer::walk_text(ModuleVisitor& v) {
  const int64_t d = width(), w = config_.text_block.width();
  INTAGLIO_TRY(v.vector("text_fusion.projector.weight", Shape{1, config_.taps}, projector_));
  INTAGLIO_TRY(v.raised_vector("txt_in.norm.weight", Shape{w}, text_norm_));
  INTAGLIO_TRY(v.linear({.names = {"txt_in.linear_1"},
                         .rows = {d},
                         .k = w,
                         .bias = true,
                         .epilogue = GemmEpilogue::kGeluTanh},
                        text_in_));
  INTAGLIO_TRY(
      v.linear({.names = {"txt_in.linear_2"}, .rows = {d}, .k = d, .bias = true}, text_out_));
  const auto stack = [&](const char* name, int64_t count, std::vector<Block>& blocks) -> Status {
    blocks.resize(static_cast<size_t>(count));
    for (int64_t i = 0; i < count; ++i) {
      v.set_prefix(fmt::format("text_fusion.{}.{}.", name, i));
      INTAGLIO_TRY(walk_block(v, config_.text_block, Residence::kFixed, kTextLabels,
                              blocks[static_cast<size_t>(i)]));
    }
    return {};
  };
  INTAGLIO_TRY(stack("layerwise_blocks", config_.layerwise_blocks, layerwise_));
  return stack("refiner_blocks", config_.refiner_blocks, refiner_);
}

std::vector<intaglio::Transformer::LayerStack> Transformer::layer_stacks() const {
  const TransformerConfig& c = config_;
  std::vector<LayerStack> stacks{{"transformer_blocks.", c.layers, "num_layers"},
                                 {"blocks.", c.layers, "num_layers", false}};
  for (const char* const text : {"text_fusion.", "txtfusion."}) {
    stacks.push_back({fmt::format("{}layerwise_blocks.", text), c.layerwise_blocks,
                      "num_layerwise_text_blocks", false});
    stacks.push_back({fmt::format("{}refiner_blocks.", text), c.refiner_blocks,
                      "num_refiner_text_blocks", false});
  }
  return stacks;
}

SequenceRows Transformer::sequence(const PassSize& size) const {
  return {.text = std::max<int64_t>(size.text_tokens - unread_, 0),
          .image = size.image_tokens(),
          .image_first = true};
}

// One modulation, of which layers make their own in the pass: 28 of each step would be 215 MB for
// 52 steps.
SessionTables Transformer::session_tables() const {
  return {.text_width = width(),
          .angles = config_.block.head_dim / 2,
          .blocks = 1,
          .block = kModulationRows * width(),
          .last = 2 * width()};
}

AttentionDesc Transformer::attention_desc(const Context& context, int64_t rows) const {
  return with_scores(context, {.tokens = rows,
                               .heads = config_.block.heads,
                               .kv_heads = config_.block.kv_heads,
                               .head_dim = config_.block.head_dim,
                               .causal = false,
                               .dtype = selection().activation_dtype()});
}

AttentionDesc Transformer::text_attention(int64_t tokens) const {
  return {.tokens = tokens,
          .heads = config_.text_block.heads,
          .kv_heads = config_.text_block.kv_heads,
          .head_dim = config_.text_block.head_dim,
          .causal = false,
          .dtype = selection().activation_dtype()};
}

// Image token (y, x) is at (0, y, x), text at (0, 0, 0).
void Transformer::fill_rope(const TransformerSession& session, float* cos, float* sin) const {
  const RopeFrequencies rope = split_rope(config_.rope_theta, config_.axes);
  const auto write = [&](int64_t y, int64_t x) {
    const std::array<double, 3> position{0.0, static_cast<double>(y), static_cast<double>(x)};
    write_rope_row(rope, position, cos, sin);
  };
  for (int64_t y = 0; y < session.size().grid_h; ++y)
    for (int64_t x = 0; x < session.size().grid_w; ++x) write(y, x);
  for (int64_t i = 0; i < session.rows().text; ++i) write(0, 0);
}

BlockSizes Transformer::buffer_sizes(int64_t rows) const {
  return block_buffer_sizes(config_.block, selection().activation_dtype(), rows, config_.channels);
}

size_t Transformer::forward_bytes(const Context& context, const PassSize& size) const {
  const PassRows rows = pass_rows(size);
  size_t scratch = std::max(linear_scratch_bytes(context, image_in_, rows.image, DType::kF32),
                            linear_scratch_bytes(context, final_linear_, rows.image, DType::kF32));
  const AttentionDesc desc = attention_desc(context, sequence(size).all());
  for (const Layer& layer : layers_)
    scratch = std::max(scratch, block_scratch(context, layer.block, desc, rows.all(), size.split));
  return block_buffer_bytes(buffer_sizes(rows.all())) +
         arena_bytes<float>(config_.layers * kModulationRows * width()) + scratch;
}

size_t Transformer::times_bytes(const Context& context, int64_t steps) const {
  size_t scratch = 0;
  for (const LinearWeights* w : {&time_in_, &time_out_, &modulation_})
    scratch = std::max(scratch, linear_scratch_bytes(context, *w, steps, DType::kF32));
  return 3 * arena_bytes<float>(steps * std::max(config_.time_frequencies, width())) +
         arena_bytes<float>(steps) + scratch;
}

size_t Transformer::scratch_bytes(const Context& context, const PassSize& size,
                                  int64_t steps) const {
  return std::max(
      {forward_bytes(context, size), times_bytes(context, steps), text_bytes(context, size)});
}

Status Transformer::embed_times(const Context& context, std::span<const float> times,
                                TransformerSession& session) const {
  const Arena::Scope scope(*context.scratch);
  const int64_t d = width(), n = config_.time_frequencies;
  const int64_t steps = session.steps();
  const int64_t most = steps * std::max(n, d);
  INTAGLIO_ASSIGN(float* const x, context.scratch->take<float>(most));
  INTAGLIO_ASSIGN(float* const y, context.scratch->take<float>(most));
  INTAGLIO_ASSIGN(float* const storage, context.scratch->take<float>(most));
  INTAGLIO_ASSIGN(float* const scale_row, context.scratch->take<float>(steps));
  const auto apply = [&](const LinearWeights& weights, const float* in, float* out) -> Status {
    INTAGLIO_ASSIGN(const Activation input,
                    as_linear_input(context, weights, in, DType::kF32, steps, storage, scale_row));
    return linear(context, weights, input, out, DType::kF32, weights.out_cols());
  };
  std::vector<float> embedding(static_cast<size_t>(steps * n));
  for (int64_t s = 0; s < steps; ++s) {
    fill_time_embedding(
        kTimeScale * static_cast<double>(times[static_cast<size_t>(s)]),
        std::span(embedding).subspan(static_cast<size_t>(s * n), static_cast<size_t>(n)));
  }
  INTAGLIO_TRY(copy_in(context, x, embedding.data(), embedding.size() * sizeof(float)));
  INTAGLIO_TRY(apply(time_in_, x, y));
  INTAGLIO_TRY(apply(time_out_, y, x));

  // The output's scale and shift: c and c, plus their table.
  const size_t row = static_cast<size_t>(d) * sizeof(float);
  float* const last = session.last_modulations();
  for (int64_t half = 0; half < 2; ++half)
    INTAGLIO_TRY(
        copy_inside(context, last + half * d, x, {row, static_cast<size_t>(steps), 2 * row, row}));
  for (int64_t s = 0; s < steps; ++s)
    INTAGLIO_TRY(
        add_in_place(context, {last + s * 2 * d, final_table_.as<float>(), DType::kF32, 2 * d}));

  INTAGLIO_TRY(activate_in_place(
      context, {.x = x, .rows = steps, .cols = d, .ld = d, .function = Nonlinearity::kGeluTanh}));
  const bool streams = !once().empty();
  StreamPass stream = once_pass(context, once());
  INTAGLIO_TRY(stream.begin());
  if (streams) INTAGLIO_TRY(stream.acquire());
  INTAGLIO_TRY(apply(modulation_, x, session.block_modulations(0)));
  if (streams) INTAGLIO_TRY(stream.release());
  return stream.end();
}

// The image's rows come first: attention knows no order but the rope's, and the output reads them.
Status Transformer::forward(const Context& context, const TransformerSession& session,
                            const float* latents, float* velocity, Profile* profile,
                            const BlockCache& cache) const {
  const Arena::Scope scope(*context.scratch);
  const int64_t d = width();
  const PassRows& rows = session.pass_rows();
  const int64_t tokens = rows.image;
  const int64_t first_value = rows.first_image_token * config_.channels;
  const size_t count = cache.last_of(layers_.size());
  StreamPass stream = layer_pass(context, count);
  INTAGLIO_TRY(stream.begin());
  INTAGLIO_ASSIGN(BlockBuffers b, take_block_buffers(*context.scratch, buffer_sizes(rows.all())));
  if (tokens > 0) {
    INTAGLIO_ASSIGN(const Activation input,
                    as_linear_input(context, image_in_, latents + first_value, DType::kF32, tokens,
                                    b.input, b.scale_row));
    const ProfileScope part(context, profile, ProfilePart::kLinear, "input");
    INTAGLIO_TRY(linear(context, image_in_, input, b.h, DType::kF32, d));
  }
  if (rows.text > 0)
    INTAGLIO_TRY(copy_inside(context, b.h + tokens * d, session.text() + rows.first_text * d,
                             static_cast<size_t>(rows.text * d) * sizeof(float)));
  INTAGLIO_TRY(run_layers(context, session, count, stream, b, profile, cache));
  INTAGLIO_TRY(stream.end());
  INTAGLIO_TRY(cache.finish(context, b.h, tokens * d));

  if (tokens == 0) return {};
  const Activation last = final_linear_.input_at(b.input, tokens, b.scale_row);
  const float* const modulation = session.last_modulation();
  {
    const ProfileScope part(context, profile, ProfilePart::kNorm);
    INTAGLIO_TRY(norm(context, norm_into(NormKind::kRms, config_.block.norm_eps, last),
                      {.x = b.h,
                       .weight = final_norm_.as<float>(),
                       .modulation = modulation,
                       .shift = modulation + d,
                       .out = last}));
  }
  const ProfileScope part(context, profile, ProfilePart::kLinear, "output");
  return linear(context, final_linear_, last, velocity + first_value, DType::kF32,
                config_.channels);
}

// Of each layer: its table plus the step's modulation, in scratch.
Expected<std::vector<const float*>> Transformer::modulations(
    const Context& context, const TransformerSession& session) const {
  const int64_t count = kModulationRows * width();
  INTAGLIO_ASSIGN(float* const all, context.scratch->take<float>(config_.layers * count));
  std::vector<const float*> of_layers;
  for (const Layer& layer : layers_) {
    float* const own = all + static_cast<int64_t>(of_layers.size()) * count;
    INTAGLIO_TRY(copy_inside(context, own, layer.table.data(), layer.table.size()));
    INTAGLIO_TRY(add_in_place(context, {own, session.block_modulation(0), DType::kF32, count}));
    of_layers.push_back(own);
  }
  return of_layers;
}

Status Transformer::run_layers(const Context& context, const TransformerSession& session,
                               size_t count, StreamPass& stream, BlockBuffers& b, Profile* profile,
                               const BlockCache& cache) const {
  const int64_t image_values = session.pass_rows().image * width();
  INTAGLIO_ASSIGN(const std::vector<const float*> modulation, modulations(context, session));
  INTAGLIO_TRY(
      begin_blocks(context, config_.block, layers_.front().block, modulation.front(), b, profile));
  Pace pace(context);
  for (size_t i = 0; i < count; ++i) {
    INTAGLIO_TRY(pace.next());
    INTAGLIO_TRY(cache.before_block(context, i, b.h, image_values));
    if (streams(i)) {
      const ProfileScope part(context, profile, ProfilePart::kOther, "wait for weights");
      INTAGLIO_TRY(stream.acquire());
    }
    const bool is_last = i + 1 == count;
    INTAGLIO_TRY(run_block(context, config_.block, layers_[i].block,
                           {.attention = {.desc = attention_desc(context, session.rows().all()),
                                          .collective = session.collective()},
                            .rope = session.rope(session.pass_rows().first),
                            .modulation = modulation[i],
                            .next = is_last ? nullptr : &layers_[i + 1].block,
                            .next_modulation = is_last ? nullptr : modulation[i + 1]},
                           b, profile));
    if (streams(i)) INTAGLIO_TRY(stream.release());
  }
  return {};
}

}  // namespace intaglio::krea2
