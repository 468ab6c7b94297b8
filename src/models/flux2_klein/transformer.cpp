#include "models/flux2_klein/transformer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "core/memory.h"
#include "core/pace.h"
#include "models/parts/rope.h"
#include "models/parts/time_embedding.h"
#include "ops/elementwise.h"
#include "ops/norm.h"

namespace intaglio::flux2_klein {
namespace {

constexpr double kTimeScale = 1000.0;

// Rows of the table of a step's modulations, each as wide as the model: six of the image's stream,
// six of the text's, three of the single blocks; of the output's, two.
constexpr int64_t kImageRow = 0, kTextRow = 6, kSingleRow = 12, kBlockRows = 15, kLastRows = 2;

constexpr bool kPublished = true;

// Of a norm whose tensor is "<stored>.scale".
constexpr ModuleAlias scaled(std::string_view module, std::string_view stored) {
  return {.module = module, .stored = stored, .leaf = "scale"};
}

}  // namespace

// Of the original files and ComfyUI's; and what diffusers fuses.
std::span<const ModuleAlias> Transformer::aliases() const {
  static constexpr ModuleAlias kAliases[] = {
      {"x_embedder", "img_in"},
      {"context_embedder", "txt_in"},
      {"proj_out", "final_layer.linear"},
      {"time_guidance_embed.timestep_embedder.linear_1", "time_in.in_layer"},
      {"time_guidance_embed.timestep_embedder.linear_2", "time_in.out_layer"},
      {"double_stream_modulation_img.linear", "double_stream_modulation_img.lin"},
      {"double_stream_modulation_txt.linear", "double_stream_modulation_txt.lin"},
      {"single_stream_modulation.linear", "single_stream_modulation.lin"},
      // The halves stand the other way round.
      {"norm_out.linear.scale", "final_layer.adaLN_modulation.1", 1, 2},
      {"norm_out.linear.shift", "final_layer.adaLN_modulation.1", 0, 2},
      {"transformer_blocks.*.attn.to_q", "double_blocks.*.img_attn.qkv", 0, 3},
      {"transformer_blocks.*.attn.to_k", "double_blocks.*.img_attn.qkv", 1, 3},
      {"transformer_blocks.*.attn.to_v", "double_blocks.*.img_attn.qkv", 2, 3},
      {"transformer_blocks.*.attn.add_q_proj", "double_blocks.*.txt_attn.qkv", 0, 3},
      {"transformer_blocks.*.attn.add_k_proj", "double_blocks.*.txt_attn.qkv", 1, 3},
      {"transformer_blocks.*.attn.add_v_proj", "double_blocks.*.txt_attn.qkv", 2, 3},
      {"transformer_blocks.*.attn.to_out.0", "double_blocks.*.img_attn.proj"},
      {"transformer_blocks.*.attn.to_add_out", "double_blocks.*.txt_attn.proj"},
      scaled("transformer_blocks.*.attn.norm_q", "double_blocks.*.img_attn.norm.query_norm"),
      scaled("transformer_blocks.*.attn.norm_k", "double_blocks.*.img_attn.norm.key_norm"),
      scaled("transformer_blocks.*.attn.norm_added_q", "double_blocks.*.txt_attn.norm.query_norm"),
      scaled("transformer_blocks.*.attn.norm_added_k", "double_blocks.*.txt_attn.norm.key_norm"),
      {"transformer_blocks.*.ff.linear_in.gate", "double_blocks.*.img_mlp.0", 0, 2},
      {"transformer_blocks.*.ff.linear_in.up", "double_blocks.*.img_mlp.0", 1, 2},
      {"transformer_blocks.*.ff.linear_out", "double_blocks.*.img_mlp.2"},
      {"transformer_blocks.*.ff_context.linear_in.gate", "double_blocks.*.txt_mlp.0", 0, 2},
      {"transformer_blocks.*.ff_context.linear_in.up", "double_blocks.*.txt_mlp.0", 1, 2},
      {"transformer_blocks.*.ff_context.linear_out", "double_blocks.*.txt_mlp.2"},
      {"single_transformer_blocks.*.attn.to_qkv_mlp_proj", "single_blocks.*.linear1"},
      {"single_transformer_blocks.*.attn.to_out", "single_blocks.*.linear2"},
      scaled("single_transformer_blocks.*.attn.norm_q", "single_blocks.*.norm.query_norm"),
      scaled("single_transformer_blocks.*.attn.norm_k", "single_blocks.*.norm.key_norm"),
      {"linear_in.gate", "linear_in", 0, 2, kPublished},
      {"linear_in.up", "linear_in", 1, 2, kPublished},
      {"norm_out.linear.scale", "norm_out.linear", 0, 2, kPublished},
      {"norm_out.linear.shift", "norm_out.linear", 1, 2, kPublished}};
  return kAliases;
}

// Text features have outliers that rows of int8 would drown in, and run through their linear once a
// picture: it stays in floats, as all edges do.
Status Transformer::walk(ModuleVisitor& v) {
  const TransformerConfig& c = config_;
  const int64_t d = width();
  const auto single = [&](const char* name, int64_t n, int64_t k, LinearWeights& weights) {
    return v.linear({.names = {name}, .rows = {n}, .k = k}, weights);
  };
  INTAGLIO_TRY(single("x_embedder", d, c.channels, image_in_));
  INTAGLIO_TRY(single("context_embedder", d, c.text_dim, text_in_));
  INTAGLIO_TRY(
      single("time_guidance_embed.timestep_embedder.linear_1", d, c.time_frequencies, time_in_));
  INTAGLIO_TRY(single("time_guidance_embed.timestep_embedder.linear_2", d, d, time_out_));
  INTAGLIO_TRY(single("proj_out", c.channels, d, final_linear_));
  INTAGLIO_TRY(walk_modulations(v));
  doubles_.resize(static_cast<size_t>(c.layers));
  for (int64_t i = 0; i < c.layers; ++i) {
    v.begin_layer(i, fmt::format("transformer_blocks.{}.", i));
    INTAGLIO_TRY(walk_double_block(v, double_sizes_, doubles_[static_cast<size_t>(i)]));
  }
  singles_.resize(static_cast<size_t>(c.single_layers));
  for (int64_t i = 0; i < c.single_layers; ++i) {
    v.begin_layer(c.layers + i, fmt::format("single_transformer_blocks.{}.", i));
    INTAGLIO_TRY(walk_single_block(v, single_sizes_, singles_[static_cast<size_t>(i)]));
  }
  return {};
}

// Read once a picture, one after the other.
Status Transformer::walk_modulations(ModuleVisitor& v) {
  const int64_t d = width();
  struct Once {
    std::vector<std::string> names;
    std::vector<int64_t> rows;
    LinearWeights& weights;
  };
  const Once all[] = {
      {{"double_stream_modulation_img.linear"}, {(kTextRow - kImageRow) * d}, image_modulation_},
      {{"double_stream_modulation_txt.linear"}, {(kSingleRow - kTextRow) * d}, text_modulation_},
      {{"single_stream_modulation.linear"}, {(kBlockRows - kSingleRow) * d}, single_modulation_},
      {{"norm_out.linear.scale", "norm_out.linear.shift"}, {d, d}, final_modulation_}};
  for (size_t i = 0; i < std::size(all); ++i) {
    v.begin_layer(static_cast<int64_t>(i), "");
    INTAGLIO_TRY(v.linear(
        {.names = all[i].names, .rows = all[i].rows, .k = d, .residence = Residence::kOnce},
        all[i].weights));
  }
  return {};
}

// In the published names, and in those of the original files.
std::vector<intaglio::Transformer::LayerStack> Transformer::layer_stacks() const {
  return {{"transformer_blocks.", config_.layers, "num_layers"},
          {"single_transformer_blocks.", config_.single_layers, "num_single_layers"},
          {"double_blocks.", config_.layers, "num_layers", false},
          {"single_blocks.", config_.single_layers, "num_single_layers", false}};
}

SessionTables Transformer::session_tables() const {
  return {.text_width = width(),
          .angles = config_.head_dim / 2,
          .blocks = 1,
          .block = kBlockRows * width(),
          .last = kLastRows * width()};
}

AttentionDesc Transformer::attention_desc(const Context& context, int64_t rows) const {
  return with_scores(context, {.tokens = rows,
                               .heads = config_.heads,
                               .kv_heads = config_.heads,
                               .head_dim = config_.head_dim,
                               .causal = false,
                               .dtype = selection().activation_dtype()});
}

// Text row i is at (0, 0, 0, i), image token (y, x) at (0, y, x, 0).
void Transformer::fill_rope(const TransformerSession& session, float* cos, float* sin) const {
  const RopeFrequencies rope = split_rope(config_.rope_theta, config_.axes);
  const auto write = [&](int64_t y, int64_t x, int64_t i) {
    const std::array<double, 4> position{0.0, static_cast<double>(y), static_cast<double>(x),
                                         static_cast<double>(i)};
    write_rope_row(rope, position, cos, sin);
  };
  const PassSize& size = session.size();
  for (int64_t i = 0; i < size.text_tokens; ++i) write(0, 0, i);
  for (int64_t y = 0; y < size.grid_h; ++y)
    for (int64_t x = 0; x < size.grid_w; ++x) write(y, x, 0);
}

DoubleModulation Transformer::double_modulation(const TransformerSession& session) const {
  const float* const table = session.block_modulation(0);
  return {.text = table + kTextRow * width(), .image = table + kImageRow * width()};
}

Modulation Transformer::single_modulation(const TransformerSession& session) const {
  return Modulation::at(session.block_modulation(0) + kSingleRow * width(), width(), 0);
}

BlockSizes Transformer::buffer_sizes(int64_t rows) const {
  const DType dtype = selection().activation_dtype();
  BlockSizes sizes = double_block_buffers(double_sizes_, dtype, rows, config_.channels);
  const bool quantizes = std::any_of(singles_.begin(), singles_.end(), [&](const auto& block) {
    return quantizes_joined(block, dtype);
  });
  widen_buffers(single_sizes_, quantizes, sizes);
  return sizes;
}

size_t Transformer::forward_bytes(const Context& context, const PassSize& size) const {
  const SequenceRows rows = sequence(size);
  const AttentionDesc desc = attention_desc(context, rows.all());
  size_t scratch = std::max(linear_scratch_bytes(context, image_in_, rows.image, DType::kF32),
                            linear_scratch_bytes(context, final_linear_, rows.image, DType::kF32));
  for (const DoubleBlock& block : doubles_)
    scratch = std::max(scratch, double_block_scratch(context, block, desc, rows.text));
  for (const SingleBlock& block : singles_)
    scratch = std::max(scratch, single_block_scratch(context, block, desc));
  return block_buffer_bytes(buffer_sizes(rows.all())) + scratch;
}

size_t Transformer::prepare_bytes(const Context& context, const PassSize& size,
                                  int64_t steps) const {
  size_t scratch = 0;
  for (const LinearWeights* w : {&time_in_, &time_out_, &image_modulation_, &text_modulation_,
                                 &single_modulation_, &final_modulation_})
    scratch = std::max(scratch, linear_scratch_bytes(context, *w, steps, DType::kF32));
  const int64_t cols = std::max(width(), config_.time_frequencies);
  const size_t time_bytes = 3 * arena_bytes<float>(steps * cols) + scratch;
  const size_t text_bytes = arena_bytes<float>(size.text_tokens * config_.text_dim) +
                            linear_scratch_bytes(context, text_in_, size.text_tokens, DType::kF32);
  return std::max(time_bytes, text_bytes);
}

size_t Transformer::scratch_bytes(const Context& context, const PassSize& size,
                                  int64_t steps) const {
  return std::max(forward_bytes(context, size), prepare_bytes(context, size, steps));
}

// None of these linears is quantized, so their inputs have no scales.
Status Transformer::embed_times(const Context& context, std::span<const float> times,
                                TransformerSession& session) const {
  const Arena::Scope scope(*context.scratch);
  const int64_t d = width();
  const int64_t steps = session.steps();
  const int64_t frequencies = config_.time_frequencies;
  const int64_t values = steps * std::max(d, frequencies);
  INTAGLIO_ASSIGN(float* const x, context.scratch->take<float>(values));
  INTAGLIO_ASSIGN(float* const y, context.scratch->take<float>(values));
  INTAGLIO_ASSIGN(float* const storage, context.scratch->take<float>(values));
  const auto apply = [&](const LinearWeights& weights, const float* in, float* out,
                         int64_t ldo) -> Status {
    INTAGLIO_ASSIGN(const Activation input,
                    as_linear_input(context, weights, in, DType::kF32, steps, storage, nullptr));
    return linear(context, weights, input, out, DType::kF32, ldo);
  };
  const auto silu = [&](float* rows) {
    return activate_in_place(
        context, {.x = rows, .rows = steps, .cols = d, .ld = d, .function = Nonlinearity::kSilu});
  };
  std::vector<float> embedding(static_cast<size_t>(steps * frequencies));
  for (size_t s = 0; s < times.size(); ++s) {
    const auto cols = static_cast<size_t>(frequencies);
    fill_time_embedding(kTimeScale * static_cast<double>(times[s]),
                        std::span(embedding).subspan(s * cols, cols));
  }
  INTAGLIO_TRY(copy_in(context, x, embedding.data(), embedding.size() * sizeof(float)));
  INTAGLIO_TRY(apply(time_in_, x, y, d));
  INTAGLIO_TRY(silu(y));
  INTAGLIO_TRY(apply(time_out_, y, x, d));
  INTAGLIO_TRY(silu(x));

  float* const table = session.block_modulations(0);
  struct Target {
    const LinearWeights& weights;
    float* out;
    int64_t ldo;
  };
  // In the order of the walk.
  const Target targets[] = {{image_modulation_, table + kImageRow * d, kBlockRows * d},
                            {text_modulation_, table + kTextRow * d, kBlockRows * d},
                            {single_modulation_, table + kSingleRow * d, kBlockRows * d},
                            {final_modulation_, session.last_modulations(), kLastRows * d}};
  const bool streams = !once().empty();
  StreamPass stream = once_pass(context, once());
  INTAGLIO_TRY(stream.begin());
  for (const Target& target : targets) {
    if (streams) INTAGLIO_TRY(stream.acquire());
    INTAGLIO_TRY(apply(target.weights, x, target.out, target.ldo));
    if (streams) INTAGLIO_TRY(stream.release());
  }
  return stream.end();
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

// The rows of b.all.h.
Status Transformer::embed_sequence(const Context& context, const TransformerSession& session,
                                   const float* latents, const DoubleBuffers& b,
                                   Profile* profile) const {
  INTAGLIO_TRY(copy_inside(context, b.all.h, session.text(),
                           static_cast<size_t>(b.text_rows * width()) * sizeof(float)));
  const BlockBuffers image = b.image();
  INTAGLIO_ASSIGN(const Activation input,
                  as_linear_input(context, image_in_, latents, DType::kF32, image.tokens,
                                  image.input, image.scale_row));
  const ProfileScope part(context, profile, ProfilePart::kLinear, "input");
  return linear(context, image_in_, input, image.h, DType::kF32, width());
}

// Block `index` of those of two streams and those of one, of which `count` run.
Status Transformer::run_block(const Context& context, const TransformerSession& session,
                              size_t index, size_t count, DoubleBuffers& b,
                              Profile* profile) const {
  const AttentionDesc attention = attention_desc(context, b.all.tokens);
  if (index < doubles_.size()) {
    const DoubleModulation modulation = double_modulation(session);
    const bool goes_on = index + 1 < std::min(count, doubles_.size());
    return run_double_block(context, double_sizes_, doubles_[index],
                            {.attention = attention,
                             .rope = session.rope(),
                             .modulation = modulation,
                             .next = goes_on ? &doubles_[index + 1] : nullptr,
                             .next_modulation = modulation},
                            b, profile);
  }
  const size_t single = index - doubles_.size();
  const Modulation modulation = single_modulation(session);
  if (single == 0) {
    INTAGLIO_TRY(
        begin_single_blocks(context, single_sizes_, singles_.front(), modulation, b.all, profile));
  }
  return run_single_block(context, single_sizes_, singles_[single],
                          {.attention = attention,
                           .rope = session.rope(),
                           .modulation = modulation,
                           .next = index + 1 < count ? &singles_[single + 1] : nullptr},
                          b.all, profile);
}

// Scale first, then shift.
Status Transformer::run_output(const Context& context, const TransformerSession& session,
                               BlockBuffers image, float* velocity, Profile* profile) const {
  const float* const scale = session.last_modulation();
  const ModulatedNorm last(image, config_.eps, {.shift = scale + width(), .scale = scale},
                           final_linear_);
  INTAGLIO_TRY(run_norm(context, last, image, profile));
  const ProfileScope part(context, profile, ProfilePart::kLinear, "output");
  return linear(context, final_linear_, image.input_for(final_linear_), velocity, DType::kF32,
                config_.channels);
}

Status Transformer::forward(const Context& context, const TransformerSession& session,
                            const float* latents, float* velocity, Profile* profile,
                            const BlockCache& cache) const {
  const Arena::Scope scope(*context.scratch);
  const size_t count = cache.last_of(doubles_.size() + singles_.size());
  StreamPass stream = layer_pass(context, count);
  INTAGLIO_TRY(stream.begin());
  const SequenceRows& rows = session.rows();
  DoubleBuffers b{.all = {}, .sizes = buffer_sizes(rows.all()), .text_rows = rows.text};
  INTAGLIO_ASSIGN(b.all, take_block_buffers(*context.scratch, b.sizes));
  INTAGLIO_TRY(embed_sequence(context, session, latents, b, profile));
  INTAGLIO_TRY(begin_double_blocks(context, double_sizes_, doubles_.front(),
                                   double_modulation(session), b, profile));
  const BlockBuffers image = b.image();
  const int64_t image_values = image.tokens * width();
  Pace pace(context);
  for (size_t i = 0; i < count; ++i) {
    INTAGLIO_TRY(pace.next());
    INTAGLIO_TRY(cache.before_block(context, i, image.h, image_values));
    if (streams(i)) {
      const ProfileScope part(context, profile, ProfilePart::kOther, "wait for weights");
      INTAGLIO_TRY(stream.acquire());
    }
    INTAGLIO_TRY(run_block(context, session, i, count, b, profile));
    if (streams(i)) INTAGLIO_TRY(stream.release());
  }
  INTAGLIO_TRY(stream.end());
  INTAGLIO_TRY(cache.finish(context, image.h, image_values));
  return run_output(context, session, image, velocity, profile);
}

}  // namespace intaglio::flux2_klein
