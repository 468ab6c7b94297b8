// FLUX.2 klein, 4B and 9B, distilled and base: one transformer, the base models guided by a second
// pass with an empty text.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "models/diffusers_model.h"
#include "models/flux2_klein/config.h"
#include "models/parts/schedules.h"

namespace intaglio::flux2_klein {

class Model : public DiffusersModel {
 public:
  // The prompt, and the empty text if any step is guided.
  Expected<std::vector<std::vector<int32_t>>> texts(const PictureRequest& request) const override;
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
  qwen3::ChatForm chat_form() const override;
  Status describe_schedules(bool has_unconditional) override;
  Status read_index(const JsonConfig& index) override;
  Status read_scheduler(const JsonConfig& config) override;
  Status read_transformer(int which, const JsonConfig& config) override;
  std::unique_ptr<intaglio::Transformer> make_transformer(
      int which, TransformerOptions options) const override;
  Status read_text_encoder(const JsonConfig& config, const JsonConfig& index) override;
  Status set_sizes(std::string_view name) override;
  void set_layers(int64_t layers) override;
  Status join_parts(const std::string& where) override;

 private:
  void set_defaults(bool distilled);
  // Noise levels of a picture, with the final 0.
  std::vector<float> levels_of(const FlowMatchScheduler& scheduler,
                               const PictureRequest& request) const;

  TransformerConfig transformer_;
  FlowMatchScheduler scheduler_;
};

}  // namespace intaglio::flux2_klein
