// The Ideogram 4 diffusion transformer (docs: the published model code; sizes from transformer/config.json).
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/aligned_buffer.h"
#include "core/context.h"
#include "core/profile.h"
#include "models/ideogram4/config.h"
#include "models/parts/modules.h"
#include "models/parts/selection.h"
#include "models/parts/weight_streaming.h"
#include "models/parts/weights.h"
#include "ops/attention.h"
#include "ops/linear.h"

namespace intaglio {
struct BlockBuffers;
}

namespace intaglio::ideogram4 {

// The text of a picture.
struct TextInput {
  int64_t tokens = 0;               // 0: none
  const float* features = nullptr;  // F32 [tokens, text_dim], memory of the device
  // Instead of the features, what a session of the same transformer made of them (Transformer::text_rows): F32 [tokens, width], host memory.
  const float* rows = nullptr;
};

// What does not depend on the step, made once per picture: projected text, rope tables, AdaLN modulations of all steps. Memory of the context's device, in
// sizes that prompts of nearly the same length share.
class TransformerSession {
 public:
  int64_t text_tokens() const { return text_tokens_; }
  int64_t image_tokens() const { return grid_h_ * grid_w_; }
  int64_t tokens() const { return text_tokens_ + image_tokens(); }
  int64_t steps() const { return steps_; }
  // Another number whenever sizes, or the places of what `forward` reads, are others than before: a recorded pass is good as long as it stays the same.
  uint64_t placement() const { return placement_; }

 private:
  friend class Transformer;
  int64_t text_tokens_ = 0, grid_h_ = 0, grid_w_ = 0, steps_ = 0;
  uint64_t placement_ = 0;
  AlignedBuffer text_rows_;  // F32 [text_tokens, width], projection and indicator added
  AlignedBuffer rope_cos_;   // F32 [tokens, head_dim / 2]
  AlignedBuffer rope_sin_;
  AlignedBuffer
      modulation_;  // F32 [layers, steps, 4 * width]: scale1, tanh gate1, scale2, tanh gate2
  AlignedBuffer final_scale_;  // F32 [steps, width]
  AlignedBuffer
      now_;  // F32 [layers, 4 * width] and [width]: modulation and final scale of the step in work
};

// Every tensor of transformer/ and its shape; without the text projection if `with_text` is false.
TensorShapes transformer_tensor_shapes(const TransformerConfig& config, bool with_text);

// kShapeMismatch unless `checkpoint` has all of these and no layer more.
Status check_transformer_weights(std::shared_ptr<const Checkpoint> checkpoint,
                                 const TransformerConfig& config, bool with_text);

// Bytes of the weights on a GPU. `prepare` alone reads the AdaLN weights, once a picture: they lie in pinned host memory and come through the slots.
ModelWeights transformer_weights(const TransformerConfig& config, const LayerSelection& selection,
                                 bool with_text);

class Transformer {
 public:
  struct LoadOptions {
    LayerSelection selection;
    bool with_text =
        true;  // false skips the text projection (the unconditional transformer never reads text)
    // nullopt: int8 where the precision is int8 and the device has kernels for it.
    std::optional<AttentionScores> scores{};
    // Bytes of a GPU's memory for the packed weights of the layers; those that do not fit stream from host memory (models/parts/weight_streaming.h).
    // 0: all fit. A CPU has no other memory and ignores it.
    uint64_t weight_budget = 0;
    // Slots shared with another transformer, large enough for the AdaLN weights and the streamed layers of both; nullptr: slots of its own.
    std::shared_ptr<WeightStreamer> streamer{};
  };

  // Reads `files` and prepares every weight. Problems with tensors are listed together.
  static Expected<Transformer> load(const Context& context, const PartFiles& files,
                                    const LoadOptions& options);
  // Random weights in the shapes of `config`, for benchmarks.
  static Expected<Transformer> synthetic(const Context& context, const TransformerConfig& config,
                                         const LoadOptions& options, uint64_t seed);
  // Without weights, for plans: scratch_bytes and session_bytes say what they will say of the loaded model.
  static Expected<Transformer> describe(const Context& context, const TransformerConfig& config,
                                        const LoadOptions& options);

  const TransformerConfig& config() const { return config_; }
  const LayerSelection& selection() const { return options_.selection; }
  // Whether attention over so many tokens would run with int8 scores.
  bool uses_s8_scores(const Context& context, int64_t tokens) const {
    return attention_desc(context, tokens).scores == AttentionScores::kS8;
  }
  // Prepared weights on the device, without those used in place in the mapped file and those that come from host memory.
  size_t weight_bytes() const;
  size_t streamed_layers() const { return streamed_.size(); }
  uint64_t streamed_bytes() const;  // of a pass, from pinned host memory
  // nullptr on a CPU.
  const WeightStreamer* streamer() const { return streamer_.get(); }
  const std::vector<std::string>& unused_tensors() const { return unused_; }

  // Bytes `prepare` and `forward` take from context.scratch; bytes a session owns.
  size_t scratch_bytes(const Context& context, int64_t text_tokens, int64_t grid_h, int64_t grid_w,
                       int64_t steps) const;
  size_t session_bytes(int64_t text_tokens, int64_t grid_h, int64_t grid_w, int64_t steps) const;

  // times (host memory): model time of each step, 0 noise .. 1 picture.
  Expected<TransformerSession> prepare(const Context& context, const TextInput& text,
                                       int64_t grid_h, int64_t grid_w,
                                       std::span<const float> times) const {
    TransformerSession session;
    INTAGLIO_TRY(prepare(context, text, grid_h, grid_w, times, session));
    return session;
  }
  // The same into `session`, whose memory is used again where its size is right. A session that this fails on is good for nothing but another call.
  Status prepare(const Context& context, const TextInput& text, int64_t grid_h, int64_t grid_w,
                 std::span<const float> times, TransformerSession& session) const;
  // The projected text of a session: F32 [text_tokens, width].
  Expected<std::vector<float>> text_rows(const Context& context,
                                         const TransformerSession& session) const;

  // Makes `step` the one that `forward` computes. Apart from it, so that what forward does is the same for every step and can be recorded once.
  Status select_step(const Context& context, TransformerSession& session, int64_t step) const;
  // latents, velocity: F32 [image_tokens, channels]. `profile` may be null.
  Status forward(const Context& context, const TransformerSession& session, const float* latents,
                 float* velocity, Profile* profile = nullptr) const;

 private:
  struct Layer {
    LinearWeights qkv, out, w13, w2;
    LinearWeights modulation;
    AlignedBuffer attention_norm1, attention_norm2, ffn_norm1, ffn_norm2, norm_q, norm_k;  // F32
    bool streams = false;
  };
  Status place_session(const Context& context, TransformerSession& session) const;
  Status choose_streamed_layers(const Context& context);
  Status stream_prepared(const Context& context, Residence residence, int64_t index,
                         LinearWeights& weights);
  Status read_weights(const Context& context, TensorSource& source);
  // Every module, once: names, shapes and roles stand nowhere else.
  Status walk(ModuleVisitor& visitor);
  Status walk_layer(ModuleVisitor& visitor, Layer& layer) const;
  // Without weights, for walks that need none.
  static Transformer sized(const TransformerConfig& config, const LoadOptions& options);
  friend TensorShapes transformer_tensor_shapes(const TransformerConfig& config, bool with_text);
  friend ModelWeights transformer_weights(const TransformerConfig& config,
                                          const LayerSelection& selection, bool with_text);
  Status layer_attention(const Context& context, const TransformerSession& session, size_t index,
                         BlockBuffers& b, Profile* profile) const;
  Status layer_feed_forward(const Context& context, const TransformerSession& session, size_t index,
                            BlockBuffers& b, Profile* profile) const;
  Status embed_times(const Context& context, std::span<const float> times,
                     TransformerSession& session) const;
  Status embed_text(const Context& context, const float* text_features,
                    TransformerSession& session) const;
  size_t forward_bytes(const Context& context, int64_t tokens, int64_t image_tokens) const;
  size_t prepare_bytes(const Context& context, int64_t text_tokens, int64_t steps) const;
  AttentionDesc attention_desc(const Context& context, int64_t tokens) const;
  const float* modulation_of(const TransformerSession& session, size_t layer) const {
    return session.now_.as<float>() + static_cast<int64_t>(layer) * 4 * config_.width();
  }

  TransformerConfig config_;
  LoadOptions options_;
  std::shared_ptr<const void> keep_alive_;  // borrowed weights
  std::vector<Layer> layers_;
  std::shared_ptr<WeightStreamer> streamer_;
  std::vector<StreamedLayer> streamed_;     // in the order of their layers
  std::vector<StreamedLayer> modulations_;  // AdaLN weights of all layers; empty on a CPU
  LinearWeights input_proj_, text_proj_, time_in_, time_out_, adaln_proj_, final_modulation_,
      final_linear_;
  AlignedBuffer text_norm_;  // F32 [text_dim]
  std::vector<std::string> unused_;
};

}  // namespace intaglio::ideogram4
