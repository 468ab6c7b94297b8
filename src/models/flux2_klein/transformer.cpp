#include "models/flux2_klein/transformer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "models/parts/rope.h"

namespace intaglio::flux2_klein {
namespace {

// Rows of the table of a step's modulations, each as wide as the model: six of the image's stream,
// six of the text's, three of the single blocks.
constexpr int64_t kImageRow = 0, kTextRow = 6, kSingleRow = 12, kBlockRows = 15;

constexpr bool kPublished = true;

// Of a norm whose tensor is "<stored>.scale".
constexpr ModuleAlias scaled(std::string_view module, std::string_view stored) {
  return {.module = module, .stored = stored, .leaf = "scale"};
}

TwoStreamNames names() {
  return {.image_in = "x_embedder",
          .text_in = "context_embedder",
          .time_in = "time_guidance_embed.timestep_embedder.linear_1",
          .time_out = "time_guidance_embed.timestep_embedder.linear_2",
          .out = "proj_out",
          .out_modulation = {"norm_out.linear.scale", "norm_out.linear.shift"}};
}

}  // namespace

Transformer::Transformer(const TransformerConfig& config, TransformerOptions options)
    : TwoStreamTransformer({.channels = config.channels,
                            .text_dim = config.text_dim,
                            .time_frequencies = config.time_frequencies,
                            .layers = config.layers,
                            .block = config.double_block()},
                           names(), std::move(options)),
      config_(config),
      single_sizes_(config.single_block()) {}

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

Status Transformer::walk(ModuleVisitor& v) {
  INTAGLIO_TRY(walk_ends(v));
  INTAGLIO_TRY(walk_modulations(v));
  INTAGLIO_TRY(walk_doubles(v));
  singles_.resize(static_cast<size_t>(config_.single_layers));
  for (int64_t i = 0; i < config_.single_layers; ++i) {
    v.begin_layer(config_.layers + i, fmt::format("single_transformer_blocks.{}.", i));
    INTAGLIO_TRY(walk_single_block(v, single_sizes_, singles_[static_cast<size_t>(i)]));
  }
  return {};
}

Status Transformer::walk_modulations(ModuleVisitor& v) {
  struct Part {
    const char* name;
    int64_t first, end;
  };
  constexpr Part kParts[] = {{"double_stream_modulation_img.linear", kImageRow, kTextRow},
                             {"double_stream_modulation_txt.linear", kTextRow, kSingleRow},
                             {"single_stream_modulation.linear", kSingleRow, kBlockRows}};
  modulations_.resize(std::size(kParts));
  for (size_t i = 0; i < std::size(kParts); ++i) {
    const Part& part = kParts[i];
    modulations_[i].first = part.first;
    INTAGLIO_TRY(walk_modulation(v, "", {part.name}, part.end - part.first, modulations_[i]));
  }
  return walk_out_modulation(v);
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

DoubleModulation Transformer::double_modulation(const TransformerSession& session, size_t) const {
  return {.text = modulation_row(session, 0, kTextRow),
          .image = modulation_row(session, 0, kImageRow)};
}

BlockSizes Transformer::buffer_sizes(int64_t rows) const {
  BlockSizes sizes = TwoStreamTransformer::buffer_sizes(rows);
  const bool quantizes = std::any_of(singles_.begin(), singles_.end(), [&](const auto& block) {
    return quantizes_joined(block, selection().activation_dtype());
  });
  widen_buffers(single_sizes_, quantizes, sizes);
  return sizes;
}

size_t Transformer::block_scratch(const Context& context, const PassSize& size) const {
  const AttentionDesc attention = attention_desc(context, sequence(size).all());
  size_t scratch = TwoStreamTransformer::block_scratch(context, size);
  for (const SingleBlock& block : singles_)
    scratch = std::max(scratch, single_block_scratch(context, block, attention, size.split));
  return scratch;
}

Status Transformer::run_block(const Context& context, const TransformerSession& session,
                              size_t index, size_t count, DoubleBuffers& b,
                              Profile* profile) const {
  if (index < doubles_.size())
    return TwoStreamTransformer::run_block(context, session, index, count, b, profile);
  const size_t single = index - doubles_.size();
  const Modulation modulation = Modulation::at(modulation_row(session, 0, kSingleRow), width(), 0);
  if (single == 0) {
    INTAGLIO_TRY(
        begin_single_blocks(context, single_sizes_, singles_.front(), modulation, b.all, profile));
  }
  return run_single_block(context, single_sizes_, singles_[single],
                          {.attention = attention_of(context, session),
                           .rope = session.rope(session.pass_rows().first),
                           .modulation = modulation,
                           .next = index + 1 < count ? &singles_[single + 1] : nullptr},
                          b.all, profile);
}

}  // namespace intaglio::flux2_klein
