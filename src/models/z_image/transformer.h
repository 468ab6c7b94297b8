// The Z-Image diffusion transformer (docs: the published model code; sizes from
// transformer/config.json). Image and caption are padded to whole groups of tokens by learned rows
// that attend and are attended to. The noise refiner's blocks run over the image alone, the context
// refiner's over the caption alone, once a picture; then the layers over [image, caption].
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "models/parts/gated_block.h"
#include "models/transformer.h"
#include "models/z_image/config.h"
#include "ops/linear.h"

namespace intaglio::z_image {

class Transformer final : public intaglio::Transformer {
 public:
  Transformer(const TransformerConfig& config, TransformerOptions options)
      : intaglio::Transformer(std::move(options)), config_(config), sizes_(config.block()) {}

  int64_t channels() const override { return config_.channels; }
  int64_t text_dim() const override { return config_.text_dim; }
  int64_t width() const override { return config_.width; }
  SequenceRows sequence(const PassSize& size) const override;
  bool splits_passes() const override { return true; }
  Status check_split(const Context& context, const PassSize& size) const override;
  std::span<const ModuleAlias> aliases() const override;
  size_t scratch_bytes(const Context& context, const PassSize& size, int64_t steps) const override;
  Status forward(const Context& context, const TransformerSession& session, const float* latents,
                 float* velocity, Profile* profile = nullptr,
                 const BlockCache& cache = {}) const override;

 private:
  // A block of the noise refiner or a layer.
  struct Layer {
    GatedBlock block;
    LinearWeights modulation;  // scale1, gate1, scale2, gate2
  };
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
  Status embed_image(const Context& context, const TransformerSession& session,
                     const float* latents, BlockBuffers& b, Profile* profile) const;
  Status run_layers(const Context& context, const TransformerSession& session, int64_t tokens,
                    size_t first, size_t last, StreamPass& stream, BlockBuffers& b,
                    Profile* profile, const BlockCache& cache = {}) const;
  size_t forward_bytes(const Context& context, const PassSize& size) const;
  size_t prepare_bytes(const Context& context, const PassSize& size, int64_t steps) const;

  TransformerConfig config_;
  GatedBlockSizes sizes_;
  LinearWeights image_in_, text_in_, time_in_, time_out_, final_modulation_, final_linear_;
  AlignedBuffer text_norm_;             // F32 [text_dim]
  AlignedBuffer image_pad_, text_pad_;  // F32 [width]
  std::vector<GatedBlock> text_refiner_;
  std::vector<Layer> layers_;  // the noise refiner's blocks first
};

}  // namespace intaglio::z_image
