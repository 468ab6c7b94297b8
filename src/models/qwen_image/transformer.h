// The Qwen-Image diffusion transformer (docs: the published model code; sizes from
// transformer/config.json). Blocks of two streams over [text, image] to the end, each with
// modulations of its own.
#pragma once

#include <cstdint>
#include <vector>

#include "models/qwen_image/config.h"
#include "models/two_stream_transformer.h"

namespace intaglio::qwen_image {

class Transformer final : public TwoStreamTransformer {
 public:
  // `unread`: rows of text at its beginning that it is given and does not read.
  Transformer(const TransformerConfig& config, TransformerOptions options, int64_t unread);

 private:
  Status walk(ModuleVisitor& visitor) override;
  std::vector<LayerStack> layer_stacks() const override;
  SessionTables session_tables() const override;
  void fill_rope(const TransformerSession& session, float* cos, float* sin) const override;
  DoubleModulation double_modulation(const TransformerSession& session,
                                     size_t index) const override;

  TransformerConfig config_;
};

}  // namespace intaglio::qwen_image
