// What the transformers of FLUX.2 and Qwen-Image share: blocks of two streams over [text, image]
// (models/parts/double_block.h), modulations that are computed once for all steps, a layer norm
// before the output.
//
//   h = image_in(x)    y = text_in(f), of normed features where the model has a norm for them
//   c = silu(time_out(silu(time_in(e(1000 t)))))
//   blocks; out = final(layernorm(h) * (1 + scale) + shift)    [scale | shift] = final_modulation(c)
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/aligned_buffer.h"
#include "models/parts/double_block.h"
#include "models/parts/modulated_norm.h"
#include "models/transformer.h"
#include "ops/linear.h"

namespace intaglio {

struct TwoStreamSizes {
  int64_t channels = 0;          // latent channels of a token
  int64_t text_dim = 0;          // width of the text features
  int64_t time_frequencies = 0;  // values of a time's embedding
  int64_t layers = 0;            // blocks of two streams
  DoubleBlockSizes block;
};

// What a model calls the modules around its blocks.
struct TwoStreamNames {
  const char* image_in = "";
  const char* text_in = "";
  const char* text_norm = "";  // of the features; empty: they are not normed
  const char* time_in = "";
  const char* time_out = "";
  const char* out = "";
  std::vector<std::string> out_modulation;  // scale, then shift: one linear of both, or two
};

class TwoStreamTransformer : public Transformer {
 public:
  int64_t channels() const final { return sizes_.channels; }
  int64_t text_dim() const final { return sizes_.text_dim; }
  int64_t width() const final { return sizes_.block.width(); }
  SequenceRows sequence(const PassSize& size) const final;
  bool splits_passes() const final { return true; }
  size_t scratch_bytes(const Context& context, const PassSize& size, int64_t steps) const final;
  // `times` of its session are noise levels: 1 noise .. 0 picture.
  Status forward(const Context& context, const TransformerSession& session, const float* latents,
                 float* velocity, Profile* profile = nullptr,
                 const BlockCache& cache = {}) const final;

 protected:
  // `unread`: text rows at the beginning that it is given and does not read.
  TwoStreamTransformer(TwoStreamSizes sizes, TwoStreamNames names, TransformerOptions options,
                       int64_t unread = 0)
      : Transformer(std::move(options)),
        sizes_(std::move(sizes)),
        names_(std::move(names)),
        unread_(unread) {}

  // Parts of a walk. Modulations: the model's own, then the output's.
  Status walk_ends(ModuleVisitor& visitor);
  Status walk_doubles(ModuleVisitor& visitor);
  // One of a step's modulations, `rows` x width outputs a step, in the table of `block` from its
  // row `first` on.
  struct StepModulation {
    LinearWeights weights;
    int64_t block = 0, first = 0;
  };
  Status walk_modulation(ModuleVisitor& visitor, const std::string& prefix,
                         std::vector<std::string> names, int64_t rows, StepModulation& modulation);
  Status walk_out_modulation(ModuleVisitor& visitor);

  // Blocks of the whole sequence, block `index` of those of which `count` run.
  virtual size_t blocks() const { return doubles_.size(); }
  virtual Status run_block(const Context& context, const TransformerSession& session, size_t index,
                           size_t count, DoubleBuffers& b, Profile* profile) const;
  virtual DoubleModulation double_modulation(const TransformerSession& session,
                                             size_t index) const = 0;
  virtual BlockSizes buffer_sizes(int64_t rows) const;
  virtual size_t block_scratch(const Context& context, const PassSize& size) const;
  AttentionDesc attention_desc(const Context& context, int64_t rows) const final;
  // Over the sequence of a session.
  SharedAttention attention_of(const Context& context, const TransformerSession& session) const {
    return {.desc = attention_desc(context, session.rows().all()),
            .collective = session.collective()};
  }
  // Of block `block` of SessionTables, row `row` of the selected step.
  const float* modulation_row(const TransformerSession& session, size_t block, int64_t row) const {
    return session.block_modulation(static_cast<int64_t>(block)) + row * width();
  }

  static constexpr int64_t kLastRows = 2;  // of the output's modulation

  std::vector<StepModulation> modulations_;
  std::vector<DoubleBlock> doubles_;

 private:
  Status embed_times(const Context& context, std::span<const float> times,
                     TransformerSession& session) const final;
  Status embed_text(const Context& context, const TextInput& text,
                    TransformerSession& session) const final;
  Status embed_sequence(const Context& context, const TransformerSession& session,
                        const float* latents, const DoubleBuffers& b, Profile* profile) const;
  Status run_output(const Context& context, const TransformerSession& session, BlockBuffers image,
                    float* velocity, Profile* profile) const;
  size_t forward_bytes(const Context& context, const PassSize& size) const;
  size_t prepare_bytes(const Context& context, const PassSize& size, int64_t steps) const;

  TwoStreamSizes sizes_;
  TwoStreamNames names_;
  int64_t unread_ = 0;
  LinearWeights image_in_, text_in_, time_in_, time_out_, final_modulation_, final_linear_;
  AlignedBuffer text_norm_;  // F32 [text_dim], or empty
};

}  // namespace intaglio
