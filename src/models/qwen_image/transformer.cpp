#include "models/qwen_image/transformer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "models/parts/rope.h"

namespace intaglio::qwen_image {
namespace {

constexpr double kRopeTheta = 10000.0;

// Rows of a block's modulations, each as wide as the model: six of a stream.
constexpr int64_t kStreamRows = 6, kImageRow = 0, kTextRow = kStreamRows;
constexpr int64_t kBlockRows = 2 * kStreamRows;

TwoStreamNames names() {
  return {.image_in = "img_in",
          .text_in = "txt_in",
          .text_norm = "txt_norm.weight",
          .time_in = "time_text_embed.timestep_embedder.linear_1",
          .time_out = "time_text_embed.timestep_embedder.linear_2",
          .out = "proj_out",
          .out_modulation = {"norm_out.linear"}};
}

}  // namespace

Transformer::Transformer(const TransformerConfig& config, TransformerOptions options,
                         int64_t unread)
    : TwoStreamTransformer({.channels = config.channels,
                            .text_dim = config.text_dim,
                            .time_frequencies = 256,
                            .layers = config.layers,
                            .block = config.block()},
                           names(), std::move(options), unread),
      config_(config) {}

// A third of its weights are modulations, read for one row a step.
Status Transformer::walk(ModuleVisitor& v) {
  INTAGLIO_TRY(walk_ends(v));
  modulations_.resize(static_cast<size_t>(2 * config_.layers));
  for (size_t i = 0; i < modulations_.size(); ++i) {
    const bool is_image = i % 2 == 0;
    modulations_[i].block = static_cast<int64_t>(i / 2);
    modulations_[i].first = is_image ? kImageRow : kTextRow;
    INTAGLIO_TRY(walk_modulation(v, fmt::format("transformer_blocks.{}.", i / 2),
                                 {is_image ? "img_mod.1" : "txt_mod.1"}, kStreamRows,
                                 modulations_[i]));
  }
  INTAGLIO_TRY(walk_out_modulation(v));
  return walk_doubles(v);
}

std::vector<intaglio::Transformer::LayerStack> Transformer::layer_stacks() const {
  return {{"transformer_blocks.", config_.layers, "num_layers"}};
}

SessionTables Transformer::session_tables() const {
  return {.text_width = width(),
          .angles = config_.head_dim / 2,
          .blocks = config_.layers,
          .block = kBlockRows * width(),
          .last = kLastRows * width()};
}

// Image token (y, x) is at (0, y, x) counted from the picture's middle, text row i at m + i on all
// axes, m half of the longer side.
void Transformer::fill_rope(const TransformerSession& session, float* cos, float* sin) const {
  const RopeFrequencies rope = split_rope(kRopeTheta, config_.axes);
  const auto write = [&](int64_t t, int64_t y, int64_t x) {
    const std::array<double, 3> position{static_cast<double>(t), static_cast<double>(y),
                                         static_cast<double>(x)};
    write_rope_row(rope, position, cos, sin);
  };
  const int64_t h = session.size().grid_h, w = session.size().grid_w;
  const int64_t first = std::max(h / 2, w / 2);
  for (int64_t i = first; i < first + session.rows().text; ++i) write(i, i, i);
  for (int64_t y = 0; y < h; ++y)
    for (int64_t x = 0; x < w; ++x) write(0, y - (h - h / 2), x - (w - w / 2));
}

DoubleModulation Transformer::double_modulation(const TransformerSession& session,
                                                size_t index) const {
  return {.text = modulation_row(session, index, kTextRow),
          .image = modulation_row(session, index, kImageRow)};
}

}  // namespace intaglio::qwen_image
