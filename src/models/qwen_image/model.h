// Qwen-Image: one transformer, guided by a second pass with another text, behind which each token's
// velocity is as long as it was without guidance. The text is a fixed task and the prompt; the
// transformer does not read the task's rows.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "models/diffusers_model.h"
#include "models/parts/schedules.h"
#include "models/qwen_image/config.h"

namespace intaglio::qwen_image {

class Model : public DiffusersModel {
 public:
  // A text's own cut, whatever `most_tokens`: rows behind it are dropped from the features, which
  // is the same as not having them (texts).
  Expected<std::vector<int32_t>> tokenize(std::string_view prompt,
                                          std::optional<int64_t> most_tokens = {}) const override;
  // The prompt, and what guidance steers away from if any step is guided.
  Expected<std::vector<std::vector<int32_t>>> texts(const PictureRequest& request) const override;
  Expected<Sampling> sampling(const PictureRequest& request) const override;
  // `settings`: {"scheduler": scheduler_config.json}. With the final 0.
  Expected<std::vector<float>> sigmas(const PictureRequest& request,
                                      const JsonConfig& settings) const override;
  int transformers() const override { return 1; }
  // It reads all rows of text that it is given.
  Expected<std::unique_ptr<intaglio::Transformer>> transformer_of(
      int which, const JsonConfig& config, TransformerOptions options) const override;

 protected:
  std::vector<PartClasses> part_classes() const override;
  ConfigTables config_tables() const override;
  qwen3::ChatForm chat_form() const override;
  Status describe_schedules(bool has_unconditional) override;
  Status read_scheduler(const JsonConfig& config) override;
  Status read_transformer(int which, const JsonConfig& config) override;
  std::unique_ptr<intaglio::Transformer> make_transformer(
      int which, TransformerOptions options) const override;
  Status read_text_encoder(const JsonConfig& config, const JsonConfig& index) override;
  Status set_sizes(std::string_view name) override;
  void set_layers(int64_t layers) override { transformer_.layers = layers; }
  Status join_parts(const std::string& where) override;

 private:
  std::vector<float> noise_levels(const FlowMatchScheduler& scheduler,
                                  const PictureRequest& request) const;

  TransformerConfig transformer_;
  FlowMatchScheduler scheduler_;
};

}  // namespace intaglio::qwen_image
