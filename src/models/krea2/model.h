// Krea 2: raw, guided by a second pass with another text, and turbo, which is distilled. The text
// is a fixed task and the prompt; the transformer does not read the task's rows.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "models/diffusers_model.h"
#include "models/krea2/config.h"
#include "models/parts/schedules.h"

namespace intaglio::krea2 {

class Model : public DiffusersModel {
 public:
  // `most_tokens`: beside the task's.
  Expected<std::vector<int32_t>> tokenize(std::string_view prompt,
                                          std::optional<int64_t> most_tokens = {}) const override;
  // The prompt, and what guidance steers away from if any step is guided.
  Expected<std::vector<std::vector<int32_t>>> texts(const PictureRequest& request) const override;
  Expected<Sampling> sampling(const PictureRequest& request) const override;
  // `settings`: {"scheduler": scheduler_config.json, "is_distilled": bool}. With the final 0.
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
  Status read_index(const JsonConfig& index) override;
  Status read_scheduler(const JsonConfig& config) override;
  Status read_transformer(int which, const JsonConfig& config) override;
  std::unique_ptr<intaglio::Transformer> make_transformer(
      int which, TransformerOptions options) const override;
  Status read_text_encoder(const JsonConfig& config, const JsonConfig& index) override;
  Status set_sizes(std::string_view name) override;
  void set_layers(int64_t layers) override { transformer_.layers = layers; }
  Status join_parts(const std::string& where) override;

 private:
  void set_defaults(bool distilled);
  std::vector<float> noise_levels(const FlowMatchScheduler& scheduler, bool distilled,
                                  const PictureRequest& request) const;

  TransformerConfig transformer_;
  FlowMatchScheduler scheduler_;
  bool distilled_ = false;
};

}  // namespace intaglio::krea2
