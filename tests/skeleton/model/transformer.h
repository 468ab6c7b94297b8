// The transformer of the skeleton: src/models/skeleton/transformer.h. Image rows, then text rows,
// through blocks that one modulation of the step scales and gates:
//
//   h        = [image_in(latents), text_in(features)]
//   h        = block_i(h, m)                             parts/gated_block.h, all with the same m
//   velocity = final(layer_norm(h of the image))
//   m        = modulation(silu(time_in([cos, sin](1000 t))))
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "models/parts/gated_block.h"
#include "models/transformer.h"
#include "skeleton/model/config.h"

namespace intaglio::skeleton_model {

class Transformer final : public intaglio::Transformer {
 public:
  Transformer(const TransformerConfig& config, TransformerOptions options)
      : intaglio::Transformer(std::move(options)), config_(config), sizes_(config.block()) {}

  int64_t channels() const override { return config_.channels; }
  int64_t text_dim() const override { return config_.text_dim; }
  int64_t width() const override { return config_.width(); }
  size_t scratch_bytes(const Context& context, const PassSize& size, int64_t steps) const override;
  Status forward(const Context& context, const TransformerSession& session, const float* latents,
                 float* velocity, Profile* profile = nullptr,
                 const BlockCache& cache = {}) const override;

 private:
  Status walk(ModuleVisitor& visitor) override;
  std::vector<LayerStack> layer_stacks() const override;
  SessionTables session_tables() const override;
  void fill_rope(const TransformerSession& session, float* cos, float* sin) const override;
  Status embed_times(const Context& context, std::span<const float> times,
                     TransformerSession& session) const override;
  Status embed_text(const Context& context, const TextInput& text,
                    TransformerSession& session) const override;
  AttentionDesc attention_desc(const Context& context, int64_t rows) const override;

  BlockSizes buffer_sizes(int64_t rows) const;
  Status run_blocks(const Context& context, const TransformerSession& session, BlockBuffers& b,
                    Profile* profile, const BlockCache& cache) const;

  TransformerConfig config_;
  GatedBlockSizes sizes_;
  LinearWeights image_in_, text_in_, time_in_, modulation_, final_;
  std::vector<GatedBlock> blocks_;
};

}  // namespace intaglio::skeleton_model
