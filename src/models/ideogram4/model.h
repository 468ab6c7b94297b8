// Ideogram 4: two transformers, of which the unconditional one reads no text.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "models/diffusers_model.h"
#include "models/ideogram4/config.h"
#include "models/ideogram4/model_sizes.h"

namespace intaglio::ideogram4 {

// Those of the published pipeline: data/presets.json.
Expected<std::vector<Preset>> published_presets();

class Model : public DiffusersModel {
 public:
  Expected<Sampling> sampling(const PictureRequest& request) const override;
  // `settings`: {"mu", "std"}.
  Expected<std::vector<float>> sigmas(const PictureRequest& request,
                                      const JsonConfig& settings) const override;
  int transformers() const override { return unconditional_ ? 2 : 1; }
  std::string_view transformer_name(int which) const override {
    return which == 0 ? "transformer" : "unconditional transformer";
  }
  Expected<std::unique_ptr<intaglio::Transformer>> transformer_of(
      int which, const JsonConfig& config, TransformerOptions options) const override;

 protected:
  void set_sizes(const ModelSizes& sizes);

  std::vector<PartClasses> part_classes() const override;
  ConfigTables config_tables() const override;
  qwen3::ChatForm chat_form() const override { return {}; }
  Status describe_schedules(bool has_unconditional) override;
  Status read_scheduler(const JsonConfig& config) override;
  Status read_transformer(int which, const JsonConfig& config) override;
  std::unique_ptr<intaglio::Transformer> make_transformer(
      int which, TransformerOptions options) const override;
  Status read_text_encoder(const JsonConfig& config, const JsonConfig& index) override;
  Status set_sizes(std::string_view name) override;
  void set_layers(int64_t layers) override;
  Status join_parts(const std::string& where) override;

 private:
  TransformerConfig conditional_;
  std::optional<TransformerConfig> unconditional_;  // nullopt: distilled, does without
};

}  // namespace intaglio::ideogram4
