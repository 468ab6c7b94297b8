// The Ideogram 4 diffusion transformer (docs: the published model code; sizes from
// transformer/config.json).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "models/ideogram4/config.h"
#include "models/parts/gated_block.h"
#include "models/transformer.h"
#include "ops/linear.h"

namespace intaglio::ideogram4 {

class Transformer final : public intaglio::Transformer {
 public:
  // Without `with_text` the text projection is skipped: the unconditional transformer never reads
  // text.
  Transformer(const TransformerConfig& config, TransformerOptions options, bool with_text = true)
      : intaglio::Transformer(std::move(options)), config_(config), with_text_(with_text) {}

  const TransformerConfig& config() const { return config_; }
  int64_t channels() const override { return config_.channels; }
  int64_t text_dim() const override { return config_.text_dim; }
  int64_t width() const override { return config_.width(); }
  std::span<const ModuleAlias> aliases() const override;
  bool splits_passes() const override { return true; }
  size_t scratch_bytes(const Context& context, const PassSize& size, int64_t steps) const override;
  Status forward(const Context& context, const TransformerSession& session, const float* latents,
                 float* velocity, Profile* profile = nullptr,
                 const BlockCache& cache = {}) const override;

 private:
  struct Layer {
    GatedBlock block;
    LinearWeights modulation;  // scale1, gate1, scale2, gate2
  };
  Status walk(ModuleVisitor& visitor) override;
  GatedBlockSizes block_sizes() const;
  BlockSizes buffer_sizes(int64_t rows) const;
  std::vector<LayerStack> layer_stacks() const override {
    return {{"layers.", config_.layers, "num_layers"}};
  }
  SessionTables session_tables() const override;
  void fill_rope(const TransformerSession& session, float* cos, float* sin) const override;
  Status embed_times(const Context& context, std::span<const float> times,
                     TransformerSession& session) const override;
  Status embed_text(const Context& context, const TextInput& text,
                    TransformerSession& session) const override;
  AttentionDesc attention_desc(const Context& context, int64_t rows) const override;
  size_t forward_bytes(const Context& context, const PassSize& size) const;
  size_t prepare_bytes(const Context& context, int64_t text_tokens, int64_t steps) const;

  TransformerConfig config_;
  bool with_text_;
  std::vector<Layer> layers_;
  LinearWeights input_proj_, text_proj_, time_in_, time_out_, adaln_proj_, final_modulation_,
      final_linear_;
  AlignedBuffer text_norm_;  // F32 [text_dim]
};

}  // namespace intaglio::ideogram4
