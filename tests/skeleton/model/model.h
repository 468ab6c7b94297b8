// What the skeleton is to all that draws with it: src/models/skeleton/model.h. One transformer, one
// pass a step.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "models/diffusers_model.h"
#include "models/parts/schedules.h"
#include "skeleton/model/config.h"

namespace intaglio::skeleton_model {

class Model : public DiffusersModel {
 public:
  Expected<Sampling> sampling(const PictureRequest& request) const override;
  // `settings`: {"scheduler": scheduler_config.json}. With the final 0.
  Expected<std::vector<float>> sigmas(const PictureRequest& request,
                                      const JsonConfig& settings) const override;
  int transformers() const override { return 1; }
  Expected<std::unique_ptr<intaglio::Transformer>> transformer_of(
      int which, const JsonConfig& config, TransformerOptions options) const override;

 protected:
  std::vector<PartClasses> part_classes() const override;
  ConfigTables config_tables() const override;
  qwen3::ChatForm chat_form() const override { return {}; }
  Status describe_schedules(bool has_unconditional) override;
  Status read_scheduler(const JsonConfig& config) override;
  Status read_transformer(int which, const JsonConfig& config) override;
  Status read_text_encoder(const JsonConfig& config, const JsonConfig& index) override;
  Status set_sizes(std::string_view name) override;
  void set_layers(int64_t layers) override { transformer_.layers = layers; }
  Status join_parts(const std::string& where) override;
  std::unique_ptr<intaglio::Transformer> make_transformer(
      int which, TransformerOptions options) const override;

 private:
  TransformerConfig transformer_;
  FlowMatchScheduler scheduler_;
};

}  // namespace intaglio::skeleton_model
