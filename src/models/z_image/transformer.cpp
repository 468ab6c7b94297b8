#include "models/z_image/transformer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "core/memory.h"
#include "core/pace.h"
#include "models/parts/rope.h"
#include "models/parts/time_embedding.h"
#include "ops/elementwise.h"
#include "ops/norm.h"

namespace intaglio::z_image {
namespace {

constexpr int64_t kTokenGroup = 32;  // image and caption are padded to multiples of this
constexpr int64_t kTimeFrequencies = 256, kTimeWidth = 1024;
constexpr float kFinalNormEps = 1e-6f;

int64_t padded(int64_t tokens) { return (tokens + kTokenGroup - 1) / kTokenGroup * kTokenGroup; }

// Rows [first, last) of `rows` become copies of one.
Status fill_rows(const Context& context, const AlignedBuffer& row, int64_t first, int64_t last,
                 float* rows) {
  const int64_t width = static_cast<int64_t>(row.size() / sizeof(float));
  for (int64_t r = first; r < last; ++r)
    INTAGLIO_TRY(copy_inside(context, rows + r * width, row.data(), row.size()));
  return {};
}

}  // namespace

// Of the original files and ComfyUI's.
std::span<const ModuleAlias> Transformer::aliases() const {
  static constexpr ModuleAlias kAliases[] = {
      {"attention.to_q", "attention.qkv", 0, 3},
      {"attention.to_k", "attention.qkv", 1, 3},
      {"attention.to_v", "attention.qkv", 2, 3},
      {"attention.to_out.0", "attention.out"},
      {"attention.norm_q", "attention.q_norm"},
      {"attention.norm_k", "attention.k_norm"},
      {"all_x_embedder.2-1", "x_embedder"},
      {"all_final_layer.2-1.linear", "final_layer.linear"},
      {"all_final_layer.2-1.adaLN_modulation.1", "final_layer.adaLN_modulation.1"}};
  return kAliases;
}

Status Transformer::walk(ModuleVisitor& v) {
  const TransformerConfig& c = config_;
  const int64_t d = c.width;
  const int64_t a = c.adaln_dim();
  const auto single = [&](const char* name, int64_t n, int64_t k, LinearWeights& weights) {
    return v.linear({.names = {name}, .rows = {n}, .k = k, .bias = true}, weights);
  };
  INTAGLIO_TRY(single("all_x_embedder.2-1", d, c.channels, image_in_));
  INTAGLIO_TRY(v.vector("cap_embedder.0.weight", Shape{c.text_dim}, text_norm_));
  INTAGLIO_TRY(single("cap_embedder.1", d, c.text_dim, text_in_));
  INTAGLIO_TRY(single("t_embedder.mlp.0", kTimeWidth, kTimeFrequencies, time_in_));
  INTAGLIO_TRY(single("t_embedder.mlp.2", a, kTimeWidth, time_out_));
  INTAGLIO_TRY(single("all_final_layer.2-1.adaLN_modulation.1", d, a, final_modulation_));
  INTAGLIO_TRY(single("all_final_layer.2-1.linear", c.channels, d, final_linear_));
  INTAGLIO_TRY(v.vector("x_pad_token", Shape{1, d}, image_pad_));
  INTAGLIO_TRY(v.vector("cap_pad_token", Shape{1, d}, text_pad_));
  text_refiner_.resize(static_cast<size_t>(c.refiners));
  for (int64_t i = 0; i < c.refiners; ++i) {
    v.set_prefix(fmt::format("context_refiner.{}.", i));
    INTAGLIO_TRY(walk_gated_block(v, sizes_, Residence::kFixed, LinearRows::kText,
                                  text_refiner_[static_cast<size_t>(i)]));
  }
  layers_.resize(static_cast<size_t>(c.refiners + c.layers));
  for (int64_t i = 0; i < c.refiners + c.layers; ++i) {
    const bool refines = i < c.refiners;
    Layer& layer = layers_[static_cast<size_t>(i)];
    v.begin_layer(i, refines ? fmt::format("noise_refiner.{}.", i)
                             : fmt::format("layers.{}.", i - c.refiners));
    INTAGLIO_TRY(walk_gated_block(v, sizes_, Residence::kLayer,
                                  refines ? LinearRows::kImage : LinearRows::kSequence,
                                  layer.block));
    INTAGLIO_TRY(v.linear({.names = {"adaLN_modulation.0"},
                           .rows = {4 * d},
                           .k = a,
                           .bias = true,
                           .residence = Residence::kOnce},
                          layer.modulation));
  }
  return {};
}

std::vector<intaglio::Transformer::LayerStack> Transformer::layer_stacks() const {
  return {{"layers.", config_.layers, "n_layers"},
          {"noise_refiner.", config_.refiners, "n_refiner_layers", true, false},
          {"context_refiner.", config_.refiners, "n_refiner_layers", false}};
}

SequenceRows Transformer::sequence(const PassSize& size) const {
  return {
      .text = padded(size.text_tokens), .image = padded(size.image_tokens()), .image_first = true};
}

// The noise refiner runs over image rows alone, of which each rank has some.
Status Transformer::check_split(const Context& context, const PassSize& size) const {
  INTAGLIO_TRY(intaglio::Transformer::check_split(context, size));
  PassSize last = size;
  last.split.rank = last.split.ranks - 1;
  if (pass_rows(last).image > 0) return {};
  const SequenceRows rows = sequence(size);
  return make_error(ErrorCode::kInvalidArgument,
                    "a pass of {} image and {} text rows is split over {} devices; expected image "
                    "rows for each",
                    rows.image, rows.text, size.split.ranks);
}

SessionTables Transformer::session_tables() const {
  return {.text_width = config_.width,
          .angles = config_.head_dim() / 2,
          .blocks = config_.refiners + config_.layers,
          .block = 4 * config_.width,
          .last = config_.width};
}

AttentionDesc Transformer::attention_desc(const Context& context, int64_t rows) const {
  return with_scores(context, {.tokens = rows,
                               .heads = config_.heads,
                               .kv_heads = config_.heads,
                               .head_dim = config_.head_dim(),
                               .causal = false,
                               .dtype = selection().activation_dtype()});
}

// Image token (y, x) is at (T + 1, y, x), T the padded caption; its pads at (0, 0, 0). Caption row
// i, pads too, is at (1 + i, 0, 0).
void Transformer::fill_rope(const TransformerSession& session, float* cos, float* sin) const {
  const RopeFrequencies rope = split_rope(config_.rope_theta, config_.axes);
  const auto write = [&](double t, double y, double x) {
    const std::array<double, 3> position{t, y, x};
    write_rope_row(rope, position, cos, sin);
  };
  const PassSize& size = session.size();
  const SequenceRows& rows = session.rows();
  for (int64_t y = 0; y < size.grid_h; ++y)
    for (int64_t x = 0; x < size.grid_w; ++x)
      write(static_cast<double>(rows.text + 1), static_cast<double>(y), static_cast<double>(x));
  for (int64_t i = size.image_tokens(); i < rows.image; ++i) write(0.0, 0.0, 0.0);
  for (int64_t i = 0; i < rows.text; ++i) write(static_cast<double>(1 + i), 0.0, 0.0);
}

BlockSizes Transformer::buffer_sizes(int64_t rows) const {
  return gated_block_buffers(sizes_, selection().activation_dtype(), rows, config_.channels);
}

size_t Transformer::forward_bytes(const Context& context, const PassSize& size) const {
  const SequenceRows all = sequence(size);
  const PassRows rows = pass_rows(size);
  size_t scratch =
      std::max(linear_scratch_bytes(context, image_in_, rows.image_tokens, DType::kF32),
               linear_scratch_bytes(context, final_linear_, rows.image_tokens, DType::kF32));
  for (size_t i = 0; i < layers_.size(); ++i) {
    const bool refines = i < static_cast<size_t>(config_.refiners);
    const AttentionDesc desc = attention_desc(context, refines ? all.image : all.all());
    scratch = std::max(scratch,
                       gated_block_scratch(context, layers_[i].block, desc, size.split, all.all()));
  }
  return block_buffer_bytes(buffer_sizes(rows.all())) + scratch;
}

size_t Transformer::prepare_bytes(const Context& context, const PassSize& size,
                                  int64_t steps) const {
  size_t scratch = 0;
  for (const LinearWeights* w :
       {&time_in_, &time_out_, &final_modulation_, &layers_.front().modulation})
    scratch = std::max(scratch, linear_scratch_bytes(context, *w, steps, DType::kF32));
  const size_t time_bytes = 3 * arena_bytes<float>(steps * std::max(kTimeWidth, config_.width)) +
                            arena_bytes<float>(steps) + scratch;
  if (size.text_tokens == 0) return time_bytes;
  const size_t projection_bytes =
      arena_bytes<float>(size.text_tokens * config_.text_dim) +
      arena_bytes<float>(size.text_tokens) +
      linear_scratch_bytes(context, text_in_, size.text_tokens, DType::kF32);
  const int64_t rows = sequence(size).text;
  size_t block_scratch = 0;
  for (const GatedBlock& block : text_refiner_) {
    block_scratch =
        std::max(block_scratch, gated_block_scratch(context, block, attention_desc(context, rows)));
  }
  const size_t refiner_bytes = block_buffer_bytes(buffer_sizes(rows)) + block_scratch;
  return std::max({time_bytes, projection_bytes, refiner_bytes});
}

size_t Transformer::scratch_bytes(const Context& context, const PassSize& size,
                                  int64_t steps) const {
  return std::max(forward_bytes(context, size), prepare_bytes(context, size, steps));
}

Status Transformer::embed_times(const Context& context, std::span<const float> times,
                                TransformerSession& session) const {
  const Arena::Scope scope(*context.scratch);
  const int64_t d = config_.width;
  const int64_t steps = session.steps();
  const int64_t width = std::max(kTimeWidth, d);
  INTAGLIO_ASSIGN(float* const x, context.scratch->take<float>(steps * width));
  INTAGLIO_ASSIGN(float* const y, context.scratch->take<float>(steps * width));
  INTAGLIO_ASSIGN(float* const storage, context.scratch->take<float>(steps * width));
  INTAGLIO_ASSIGN(float* const scale_row, context.scratch->take<float>(steps));
  const auto apply = [&](const LinearWeights& weights, const float* in, float* out) -> Status {
    INTAGLIO_ASSIGN(const Activation input,
                    as_linear_input(context, weights, in, DType::kF32, steps, storage, scale_row));
    return linear(context, weights, input, out, DType::kF32, weights.n);
  };
  const auto activate = [&](float* values, int64_t cols, int64_t ld, Nonlinearity function) {
    return activate_in_place(
        context, {.x = values, .rows = steps, .cols = cols, .ld = ld, .function = function});
  };
  std::vector<float> embedding(static_cast<size_t>(steps * kTimeFrequencies));
  for (int64_t s = 0; s < steps; ++s) {
    fill_time_embedding(config_.time_scale * static_cast<double>(times[static_cast<size_t>(s)]),
                        std::span(embedding).subspan(static_cast<size_t>(s * kTimeFrequencies),
                                                     static_cast<size_t>(kTimeFrequencies)));
  }
  INTAGLIO_TRY(copy_in(context, x, embedding.data(), embedding.size() * sizeof(float)));
  INTAGLIO_TRY(apply(time_in_, x, y));
  INTAGLIO_TRY(activate(y, kTimeWidth, kTimeWidth, Nonlinearity::kSilu));
  INTAGLIO_TRY(apply(time_out_, y, x));

  const bool streams = !once().empty();
  StreamPass stream = once_pass(context, once());
  INTAGLIO_TRY(stream.begin());
  for (size_t i = 0; i < layers_.size(); ++i) {
    float* const m = session.block_modulations(static_cast<int64_t>(i));
    if (streams) INTAGLIO_TRY(stream.acquire());
    INTAGLIO_TRY(apply(layers_[i].modulation, x, m));
    if (streams) INTAGLIO_TRY(stream.release());
    for (const int64_t gate : {1, 3})
      INTAGLIO_TRY(activate(m + gate * d, d, 4 * d, Nonlinearity::kTanh));
  }
  INTAGLIO_TRY(stream.end());
  const int64_t a = config_.adaln_dim();
  INTAGLIO_TRY(activate(x, a, a, Nonlinearity::kSilu));
  return apply(final_modulation_, x, session.last_modulations());
}

// The projected caption, its pads, and what the context refiner makes of them.
Status Transformer::embed_text(const Context& context, const TextInput& text,
                               TransformerSession& session) const {
  const int64_t d = config_.width;
  const int64_t rows = session.rows().text;
  {
    const Arena::Scope scope(*context.scratch);
    INTAGLIO_ASSIGN(float* const storage,
                    context.scratch->take<float>(text.tokens * config_.text_dim));
    INTAGLIO_ASSIGN(float* const scale_row, context.scratch->take<float>(text.tokens));
    const Activation normed = text_in_.input_at(storage, text.tokens, scale_row);
    const NormDesc desc = norm_into(NormKind::kRms, config_.norm_eps, normed);
    INTAGLIO_TRY(norm(context, desc,
                      {.x = text.features,
                       .weight = text_norm_.as<float>(),
                       .modulation = nullptr,
                       .out = normed}));
    INTAGLIO_TRY(linear(context, text_in_, normed, session.text(), DType::kF32, d));
  }
  INTAGLIO_TRY(fill_rows(context, text_pad_, text.tokens, rows, session.text()));
  const Arena::Scope scope(*context.scratch);
  const auto bytes = static_cast<size_t>(rows * d) * sizeof(float);
  INTAGLIO_ASSIGN(BlockBuffers b, take_block_buffers(*context.scratch, buffer_sizes(rows)));
  INTAGLIO_TRY(copy_inside(context, b.h, session.text(), bytes));
  INTAGLIO_TRY(begin_gated_blocks(context, sizes_, text_refiner_.front(), nullptr, b, nullptr));
  for (size_t i = 0; i < text_refiner_.size(); ++i) {
    const bool is_last = i + 1 == text_refiner_.size();
    INTAGLIO_TRY(run_gated_block(context, sizes_, text_refiner_[i],
                                 {.attention = {.desc = attention_desc(context, rows)},
                                  .rope = session.rope(session.rows().image),
                                  .next = is_last ? nullptr : &text_refiner_[i + 1]},
                                 b, nullptr));
  }
  return copy_inside(context, session.text(), b.h, bytes);
}

// The image's rows of b.h.
Status Transformer::embed_image(const Context& context, const TransformerSession& session,
                                const float* latents, BlockBuffers& b, Profile* profile) const {
  const PassRows& rows = session.pass_rows();
  if (rows.image_tokens > 0) {
    INTAGLIO_ASSIGN(
        const Activation input,
        as_linear_input(context, image_in_, latents + rows.first_image_token * config_.channels,
                        DType::kF32, rows.image_tokens, b.input, b.scale_row));
    const ProfileScope part(context, profile, ProfilePart::kLinear, "input");
    INTAGLIO_TRY(linear(context, image_in_, input, b.h, DType::kF32, config_.width));
  }
  return fill_rows(context, image_pad_, rows.image_tokens, rows.image, b.h);
}

// Layers [first, last) over the rows of `b`: those at hand of the first `tokens` of the sequence.
Status Transformer::run_layers(const Context& context, const TransformerSession& session,
                               int64_t tokens, size_t first, size_t last, StreamPass& stream,
                               BlockBuffers& b, Profile* profile, const BlockCache& cache) const {
  const auto modulation = [&](size_t i) {
    return session.block_modulation(static_cast<int64_t>(i));
  };
  INTAGLIO_TRY(
      begin_gated_blocks(context, sizes_, layers_[first].block, modulation(first), b, profile));
  const int64_t image_values = session.pass_rows().image * config_.width;
  Pace pace(context);
  for (size_t i = first; i < last; ++i) {
    INTAGLIO_TRY(pace.next());
    INTAGLIO_TRY(cache.before_block(context, i, b.h, image_values));
    if (streams(i)) {
      const ProfileScope part(context, profile, ProfilePart::kOther, "wait for weights");
      INTAGLIO_TRY(stream.acquire());
    }
    const bool is_last = i + 1 == last;
    INTAGLIO_TRY(run_gated_block(context, sizes_, layers_[i].block,
                                 {.attention = {.desc = attention_desc(context, tokens),
                                                .collective = session.collective(),
                                                .sequence = session.rows().all()},
                                  .rope = session.rope(session.pass_rows().first),
                                  .modulation = modulation(i),
                                  .next = is_last ? nullptr : &layers_[i + 1].block,
                                  .next_modulation = is_last ? nullptr : modulation(i + 1)},
                                 b, profile));
    if (streams(i)) INTAGLIO_TRY(stream.release());
  }
  return {};
}

Status Transformer::forward(const Context& context, const TransformerSession& session,
                            const float* latents, float* velocity, Profile* profile,
                            const BlockCache& cache) const {
  const Arena::Scope scope(*context.scratch);
  const auto refiners = static_cast<size_t>(config_.refiners);
  BlockCache of_layers = cache;  // counts the refiners too
  of_layers.first += refiners;
  const size_t count = of_layers.last_of(layers_.size());
  StreamPass stream = layer_pass(context, count);
  INTAGLIO_TRY(stream.begin());
  const int64_t d = config_.width;
  const SequenceRows& all = session.rows();
  const PassRows& rows = session.pass_rows();
  INTAGLIO_ASSIGN(BlockBuffers b, take_block_buffers(*context.scratch, buffer_sizes(rows.all())));
  BlockBuffers image = b;
  image.tokens = rows.image;
  INTAGLIO_TRY(embed_image(context, session, latents, image, profile));
  INTAGLIO_TRY(run_layers(context, session, all.image, 0, refiners, stream, image, profile));
  if (rows.text > 0)
    INTAGLIO_TRY(copy_inside(context, b.h + rows.image * d, session.text() + rows.first_text * d,
                             static_cast<size_t>(rows.text * d) * sizeof(float)));
  INTAGLIO_TRY(
      run_layers(context, session, all.all(), refiners, count, stream, b, profile, of_layers));
  INTAGLIO_TRY(stream.end());
  INTAGLIO_TRY(of_layers.finish(context, b.h, rows.image * d));

  const int64_t tokens = rows.image_tokens;
  if (tokens == 0) return {};
  const Activation last = final_linear_.input_at(b.input, tokens, b.scale_row);
  const NormDesc last_desc = norm_into(NormKind::kLayer, kFinalNormEps, last);
  {
    const ProfileScope part(context, profile, ProfilePart::kNorm);
    INTAGLIO_TRY(
        norm(context, last_desc,
             {.x = b.h, .weight = nullptr, .modulation = session.last_modulation(), .out = last}));
  }
  const ProfileScope part(context, profile, ProfilePart::kLinear, "output");
  return linear(context, final_linear_, last, velocity + rows.first_image_token * config_.channels,
                DType::kF32, config_.channels);
}

}  // namespace intaglio::z_image
