// The FLUX.2 klein diffusion transformer (docs: the published model code; sizes from
// transformer/config.json). Blocks of two streams over [text, image], then blocks of one; three
// modulations that all blocks share.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "models/flux2_klein/config.h"
#include "models/flux2_klein/single_block.h"
#include "models/two_stream_transformer.h"

namespace intaglio::flux2_klein {

class Transformer final : public TwoStreamTransformer {
 public:
  Transformer(const TransformerConfig& config, TransformerOptions options);

  std::span<const ModuleAlias> aliases() const override;

 private:
  Status walk(ModuleVisitor& visitor) override;
  Status walk_modulations(ModuleVisitor& visitor);
  std::vector<LayerStack> layer_stacks() const override;
  SessionTables session_tables() const override;
  void fill_rope(const TransformerSession& session, float* cos, float* sin) const override;
  size_t blocks() const override { return doubles_.size() + singles_.size(); }
  Status run_block(const Context& context, const TransformerSession& session, size_t index,
                   size_t count, DoubleBuffers& b, Profile* profile) const override;
  DoubleModulation double_modulation(const TransformerSession& session,
                                     size_t index) const override;
  BlockSizes buffer_sizes(int64_t rows) const override;
  size_t block_scratch(const Context& context, const PassSize& size) const override;

  TransformerConfig config_;
  SingleBlockSizes single_sizes_;
  std::vector<SingleBlock> singles_;
};

}  // namespace intaglio::flux2_klein
