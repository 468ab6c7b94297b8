// The FLUX.2 klein diffusion transformer (docs: the published model code; sizes from
// transformer/config.json). Blocks of two streams over [text, image], then blocks of one; three
// modulations that all blocks share, computed once for all steps.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "models/flux2_klein/config.h"
#include "models/flux2_klein/single_block.h"
#include "models/parts/double_block.h"
#include "models/transformer.h"
#include "ops/linear.h"

namespace intaglio::flux2_klein {

class Transformer final : public intaglio::Transformer {
 public:
  Transformer(const TransformerConfig& config, TransformerOptions options)
      : intaglio::Transformer(std::move(options)),
        config_(config),
        double_sizes_(config.double_block()),
        single_sizes_(config.single_block()) {}

  int64_t channels() const override { return config_.channels; }
  int64_t text_dim() const override { return config_.text_dim; }
  int64_t width() const override { return config_.width(); }
  std::span<const ModuleAlias> aliases() const override;
  size_t scratch_bytes(const Context& context, const PassSize& size, int64_t steps) const override;
  // `times` of its session are noise levels: 1 noise .. 0 picture.
  Status forward(const Context& context, const TransformerSession& session, const float* latents,
                 float* velocity, Profile* profile = nullptr,
                 const BlockCache& cache = {}) const override;

 private:
  Status walk(ModuleVisitor& visitor) override;
  Status walk_modulations(ModuleVisitor& visitor);
  std::vector<LayerStack> layer_stacks() const override;
  SessionTables session_tables() const override;
  void fill_rope(const TransformerSession& session, float* cos, float* sin) const override;
  Status embed_times(const Context& context, std::span<const float> times,
                     TransformerSession& session) const override;
  Status embed_text(const Context& context, const TextInput& text,
                    TransformerSession& session) const override;
  AttentionDesc attention_desc(const Context& context, int64_t rows) const override;

  // Of the selected step.
  DoubleModulation double_modulation(const TransformerSession& session) const;
  Modulation single_modulation(const TransformerSession& session) const;
  BlockSizes buffer_sizes(int64_t rows) const;
  Status embed_sequence(const Context& context, const TransformerSession& session,
                        const float* latents, const DoubleBuffers& b, Profile* profile) const;
  Status run_block(const Context& context, const TransformerSession& session, size_t index,
                   size_t count, DoubleBuffers& b, Profile* profile) const;
  Status run_output(const Context& context, const TransformerSession& session, BlockBuffers image,
                    float* velocity, Profile* profile) const;
  size_t forward_bytes(const Context& context, const PassSize& size) const;
  size_t prepare_bytes(const Context& context, const PassSize& size, int64_t steps) const;

  TransformerConfig config_;
  DoubleBlockSizes double_sizes_;
  SingleBlockSizes single_sizes_;
  LinearWeights image_in_, text_in_, time_in_, time_out_, final_modulation_, final_linear_;
  LinearWeights image_modulation_, text_modulation_, single_modulation_;
  std::vector<DoubleBlock> doubles_;
  std::vector<SingleBlock> singles_;
};

}  // namespace intaglio::flux2_klein
