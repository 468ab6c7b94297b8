// The Krea 2 diffusion transformer (docs: the published model code; sizes from
// transformer/config.json). Its text stage runs once a picture: blocks over the states that the
// text encoder gives of each token, a weighted sum of these, blocks over the tokens. Then the
// layers run over [image, text]; one modulation of the step serves them all, each adds its table.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "models/krea2/block.h"
#include "models/krea2/config.h"
#include "models/transformer.h"
#include "ops/linear.h"

namespace intaglio::krea2 {

class Transformer final : public intaglio::Transformer {
 public:
  // `unread`: the first so many rows of text features are not read.
  Transformer(const TransformerConfig& config, TransformerOptions options, int64_t unread)
      : intaglio::Transformer(std::move(options)), config_(config), unread_(unread) {}

  int64_t channels() const override { return config_.channels; }
  int64_t text_dim() const override { return config_.text_dim(); }
  int64_t width() const override { return config_.width(); }
  SequenceRows sequence(const PassSize& size) const override;
  bool splits_passes() const override { return true; }
  std::span<const ModuleAlias> aliases() const override;
  size_t scratch_bytes(const Context& context, const PassSize& size, int64_t steps) const override;
  Status forward(const Context& context, const TransformerSession& session, const float* latents,
                 float* velocity, Profile* profile = nullptr,
                 const BlockCache& cache = {}) const override;

 private:
  struct Layer {
    Block block;
    AlignedBuffer table;  // F32 [6, width], added to the step's modulation
  };
  Status walk(ModuleVisitor& visitor) override;
  Status walk_text(ModuleVisitor& visitor);
  std::vector<LayerStack> layer_stacks() const override;
  SessionTables session_tables() const override;
  void fill_rope(const TransformerSession& session, float* cos, float* sin) const override;
  Status embed_times(const Context& context, std::span<const float> times,
                     TransformerSession& session) const override;
  Status embed_text(const Context& context, const TextInput& text,
                    TransformerSession& session) const override;
  AttentionDesc attention_desc(const Context& context, int64_t rows) const override;

  AttentionDesc text_attention(int64_t tokens) const;
  BlockSizes buffer_sizes(int64_t rows) const;
  BlockSizes text_buffer_sizes(int64_t rows) const;
  Status fuse_states(const Context& context, const float* features, int64_t tokens,
                     std::span<const float> weights, float* fused) const;
  Status refine_text(const Context& context, int64_t tokens, float* states, float* rows) const;
  Status run_text_blocks(const Context& context, const std::vector<Block>& blocks,
                         const AttentionDesc& attention, int64_t sequences, BlockBuffers& b) const;
  Expected<std::vector<const float*>> modulations(const Context& context,
                                                  const TransformerSession& session) const;
  Status run_layers(const Context& context, const TransformerSession& session, size_t count,
                    StreamPass& stream, BlockBuffers& b, Profile* profile,
                    const BlockCache& cache) const;
  size_t forward_bytes(const Context& context, const PassSize& size) const;
  size_t times_bytes(const Context& context, int64_t steps) const;
  size_t text_bytes(const Context& context, const PassSize& size) const;

  TransformerConfig config_;
  int64_t unread_ = 0;
  LinearWeights image_in_, time_in_, time_out_, modulation_, final_linear_;
  AlignedBuffer final_norm_, final_table_;  // F32 [width], 1 + the file's; F32 [2, width]
  std::vector<Block> layerwise_, refiner_;
  AlignedBuffer projector_;  // F32 [1, taps]: weights of a token's states
  AlignedBuffer text_norm_;  // F32 [text width], 1 + the file's
  LinearWeights text_in_, text_out_;
  std::vector<Layer> layers_;
};

}  // namespace intaglio::krea2
