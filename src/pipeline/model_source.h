// Where the parts of a model come from: a folder of the diffusers layout, or random weights in the sizes of a known model.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/context.h"
#include "core/status.h"
#include "models/autoencoder/decoder.h"
#include "models/ideogram4/transformer.h"
#include "models/parts/selection.h"
#include "models/qwen3/text_encoder.h"
#include "pipeline/memory_plan.h"
#include "pipeline/model_info.h"
#include "pipeline/model_parts.h"

namespace intaglio {

enum class TransformerRole { kConditional, kUnconditional };

class ModelSource {
 public:
  virtual ~ModelSource() = default;

  // Reads configs, the tokenizer and the headers of all weights, but no weight: every problem of a model's files that can be seen without its numbers is
  // found here, all of them at once, and names its file.
  static Expected<std::unique_ptr<ModelSource>> open(const ModelPaths& paths);
  static Expected<std::unique_ptr<ModelSource>> open(const std::filesystem::path& folder) {
    return open(ModelPaths{.folder = folder});
  }
  // Random weights in the sizes of "ideogram4" or "mini" (models/mini): pictures are noise, times and memory are those of the real model. A prompt has
  // about as many tokens as a real tokenizer would give it. kNotFound lists the names.
  static Expected<std::unique_ptr<ModelSource>> synthetic(std::string_view name);

  const ModelInfo& info() const { return info_; }
  // Sizes of the parts, for a plan.
  PlannedModels planned(const LayerSelection& selection) const {
    return {transformer_, unconditional_, text_, vae_, selection};
  }
  const qwen3::TextEncoderConfig& text_config() const { return text_; }
  const autoencoder::DecoderConfig& vae_config() const { return vae_; }

  // Everything on disk that the model is read from, also what a hash or a later load reads: no output of a run may replace one of these.
  virtual std::vector<std::filesystem::path> files() const { return {}; }

  // kInvalidArgument for a pattern of `keep_bf16` that no linear's name matches.
  virtual Status check_keep_bf16(const LayerSelection& selection) const = 0;
  // Ids of the prompt in chat form.
  virtual Expected<std::vector<int32_t>> tokenize(std::string_view prompt) const = 0;
  // Hash of all weights, 16 hexadecimal digits. `cancel` may be null; once it is set the call returns kCancelled soon.
  virtual Expected<std::string> hash(const std::atomic<bool>* cancel = nullptr) const = 0;

  virtual Expected<qwen3::TextEncoder> load_text_encoder(const Context& context,
                                                         const LayerSelection& selection,
                                                         uint64_t weight_budget) const = 0;
  virtual Expected<ideogram4::Transformer> load_transformer(
      const Context& context, TransformerRole role,
      const ideogram4::Transformer::LoadOptions& options) const = 0;
  virtual Expected<autoencoder::Decoder> load_vae(const Context& context, DType compute) const = 0;

 protected:
  // kBadFormat unless the parts fit together; sets what `info` says of tokens and latents.
  Status join_parts(const std::string& where);

  ModelInfo info_;
  ideogram4::TransformerConfig transformer_;
  std::optional<ideogram4::TransformerConfig> unconditional_;
  qwen3::TextEncoderConfig text_;
  autoencoder::DecoderConfig vae_;
};

}  // namespace intaglio
