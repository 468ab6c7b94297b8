// The language model of Qwen3, Qwen3-VL and Qwen2.5-VL as text encoder: causal, plain rope, outputs
// of chosen layers make the text features.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/context.h"
#include "io/json_config.h"
#include "models/parts/modules.h"
#include "models/parts/weights.h"
#include "models/qwen3/config.h"
#include "ops/attention.h"

namespace intaglio {
struct BlockBuffers;
}

namespace intaglio::qwen3 {

// Names under which checkpoints keep the language model.
inline constexpr const char* kWeightPrefixes[] = {"language_model.", "model.language_model.",
                                                  "model.", ""};

// What its modules are called in the GGUF files of llama.cpp, which have no prefix.
std::span<const ModuleAlias> weight_aliases();

// Every tensor of the layers up to the last tap and its shape.
TensorShapes text_encoder_tensor_shapes(const TextEncoderConfig& config, const std::string& prefix);

// Bytes of their weights on a GPU.
ModelWeights text_encoder_weights(const TextEncoderConfig& config, const LayerSelection& selection);

// kShapeMismatch unless `checkpoint` has the tensors of all layers up to the last tap, and no layer
// that the config does not know.
Status check_text_encoder_weights(std::shared_ptr<const Checkpoint> checkpoint,
                                  const TextEncoderConfig& config);

class TextEncoder {
 public:
  // Reads `weights`, as Checkpoint::open takes them. Only the layers up to the last tap are loaded;
  // the vision tower is left alone.
  // `weight_budget`: bytes of a GPU's memory for the packed weights of layers that stay. The others
  // are read from the file again in each call of `encode`, one at a time: a prompt is one pass, so
  // a copy of them in host memory would save nothing. 0: all stay. A CPU ignores it.
  static Expected<TextEncoder> load(const Context& context, const std::filesystem::path& weights,
                                    const TextEncoderConfig& config,
                                    const LayerSelection& selection, uint64_t weight_budget = 0);

  // Random weights in the shapes of `config`, for benchmarks.
  static Expected<TextEncoder> synthetic(const Context& context, const TextEncoderConfig& config,
                                         const LayerSelection& selection, uint64_t seed,
                                         uint64_t weight_budget = 0);
  // Without weights, for plans: scratch_bytes says what it will say of the loaded model.
  static Expected<TextEncoder> describe(const Context& context, const TextEncoderConfig& config,
                                        const LayerSelection& selection);

  const TextEncoderConfig& config() const { return config_; }
  size_t weight_bytes() const;
  bool keeps_all_layers() const { return kept_ == active_layers(); }
  size_t scratch_bytes(const Context& context, int64_t tokens) const;

  // ids: token ids, kPadding behind the last (host memory); features: memory of the device, F32
  // [ids.size(), feature_dim()], element (t, c * taps + i), or (t, i * hidden + c) side by side =
  // output of tap i, channel c.
  // kInvalidArgument for an id outside the vocabulary, and for a text of nothing but padding.
  Status encode(const Context& context, std::span<const int32_t> ids, float* features) const;

 private:
  struct Layer {
    LinearWeights qkv, out, gate_up, down;
    AlignedBuffer input_norm, post_norm, norm_q, norm_k;  // F32; Qwen2.5 has no last two
  };

  Status read_weights(const Context& context, std::shared_ptr<TensorSource> source,
                      uint64_t weight_budget);
  Expected<Layer> read_layer(const Context& context, int64_t index) const;
  // Every module, once: names, shapes and roles stand nowhere else.
  Status walk(ModuleVisitor& visitor);
  Status walk_layer(ModuleVisitor& visitor, int64_t index, Layer& layer) const;
  Status walk_final_norm(ModuleVisitor& visitor);
  // Of so many rows of the residual stream, into the features of tap `tap`.
  Status write_tap(const Context& context, const float* h, int64_t rows, int64_t tap,
                   float* features) const;
  // Without weights, for walks that need none.
  static TextEncoder sized(const TextEncoderConfig& config, const LayerSelection& selection,
                           std::string prefix);
  friend TensorShapes text_encoder_tensor_shapes(const TextEncoderConfig& config,
                                                 const std::string& prefix);
  friend ModelWeights text_encoder_weights(const TextEncoderConfig& config,
                                           const LayerSelection& selection);
  // `real`: the first tokens, which are no padding.
  Status run_layer(const Context& context, const Layer& layer, int64_t real, const RopeTable& rope,
                   BlockBuffers& b) const;
  Status attend(const Context& context, int64_t real, const BlockBuffers& b) const;
  size_t attention_bytes(const Context& context, int64_t tokens) const;
  // Layers that must run: those up to the last tap.
  int64_t active_layers() const { return config_.taps.back() + 1; }

  TextEncoderConfig config_;
  DType dtype_ = DType::kF32;  // of activations
  LayerSelection selection_;
  std::shared_ptr<TensorSource> source_;
  std::shared_ptr<const void> keep_alive_;
  std::string prefix_;         // of the language model's weight names
  std::vector<Layer> layers_;  // from `kept_` on only described
  AlignedBuffer final_norm_;   // F32 [hidden], or empty
  int64_t kept_ = 0;
};

}  // namespace intaglio::qwen3
