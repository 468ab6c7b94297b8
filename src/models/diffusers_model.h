// A model whose parts lie in a folder of the diffusers layout, or have random weights in its sizes.
// What the models of this engine have in common lives here; each says what is its own.
#pragma once

#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "io/config_keys.h"
#include "models/model.h"
#include "models/model_files.h"
#include "models/parts/config_notes.h"
#include "models/qwen3/chat.h"
#include "text/tokenizer.h"

namespace intaglio {

class DiffusersModel : public Model {
 public:
  // Reads configs, the tokenizer and the headers of all weights, but no weight: every problem of a
  // model's files that can be seen without its numbers is found here, all of them at once, and
  // names its file.
  Status open(const ModelPaths& paths, JsonConfig index);
  // Random weights in known sizes: pictures are noise, times and memory are those of the real
  // model. A prompt has about as many tokens as a real tokenizer would give it. kNotFound if these
  // are no sizes of this model.
  // `layers`: instead of as many as the model has, for benchmarks.
  // `rotation`: its linears are int8 rows turned so, as ConvRot files hold them.
  Status use_sizes(std::string_view name, std::optional<int64_t> layers = {},
                   Rotation rotation = {});

  // ---- Of lone configs, for `inspect`.
  // kUnsupported that lists every setting, nested ones too, that would have to change what is
  // computed and does not. What is read is its parser's affair.
  Status check_known_keys(ConfigKind kind, const JsonConfig& config) const;
  // Keys of no meaning here, nested ones by their path ("text_config.softcap").
  UnknownKeys unknown_keys(ConfigKind kind, const JsonConfig& config) const;
  // What its reader needs of a part ("transformer", "unconditional_transformer", "text_encoder",
  // "vae") with this config, names of a text encoder under every prefix that it may have; nullopt
  // for another part, or a config that its reader refuses.
  std::optional<std::set<std::string>> needed_tensors(std::string_view part,
                                                      const JsonConfig& config,
                                                      const JsonConfig& index);
  // What the model says of itself, from its folder's files, of which no weight is read.
  Expected<ModelInfo> read_info(const ModelPaths& paths, const JsonConfig& index);

  std::vector<std::filesystem::path> files() const override;
  Expected<std::string> hash(const std::atomic<bool>* cancel = nullptr) const override;
  Status check_keep_bf16(const LayerSelection& selection) const override;
  Expected<std::vector<std::string>> check_adapters(
      std::span<const AdapterUse> adapters) const override;
  Expected<std::vector<int32_t>> tokenize(std::string_view prompt,
                                          std::optional<int64_t> most_tokens = {}) const override;
  Expected<std::vector<std::vector<int32_t>>> texts(const PictureRequest& request) const override;
  std::unique_ptr<Transformer> transformer(int which, TransformerOptions options) const override;
  Expected<qwen3::TextEncoder> load_text_encoder(const Context& context,
                                                 const LayerSelection& selection,
                                                 uint64_t weight_budget) const override;
  Expected<std::unique_ptr<Transformer>> load_transformer(
      const Context& context, int which, TransformerOptions options) const override;
  Expected<autoencoder::Decoder> load_vae(const Context& context, DType compute) const override;
  Status check_encoder() const override;
  Expected<autoencoder::Encoder> load_encoder(const Context& context, DType compute) const override;

 protected:
  // Classes of the parts of a pipeline, by what they compute; those of schedulers and tokenizers
  // are the same for all.
  struct PartClasses {
    std::string_view part;
    std::vector<std::string_view> classes;
  };
  virtual std::vector<PartClasses> part_classes() const = 0;
  // Of the configs that are the model's own; those of text encoders, autoencoders and tokenizers
  // are shared.
  struct ConfigTables {
    const ConfigTable &model_index, &scheduler, &transformer;
  };
  virtual ConfigTables config_tables() const = 0;
  virtual qwen3::ChatForm chat_form() const = 0;

  // Sets what `info_` says of schedules, before the model's own defaults.
  virtual Status describe_schedules(bool has_unconditional) = 0;
  // What model_index.json says of schedules, before its makers' own defaults.
  virtual Status read_index(const JsonConfig&) { return {}; }
  virtual Status read_scheduler(const JsonConfig& config) = 0;
  virtual Status read_transformer(int which, const JsonConfig& config) = 0;
  virtual Status read_text_encoder(const JsonConfig& config, const JsonConfig& index) = 0;
  virtual Status set_sizes(std::string_view name) = 0;
  virtual void set_layers(int64_t layers) = 0;
  // kBadFormat unless the parts fit together; sets what `info_` says of tokens and latents.
  virtual Status join_parts(const std::string& where) = 0;

  virtual std::unique_ptr<Transformer> make_transformer(int which,
                                                        TransformerOptions options) const = 0;

  // For join_parts: autoencoder::check_latents, then what `info_` says of both parts.
  Status join_latents(const std::string& where, std::string_view vae_class, int64_t channels);
  bool is_synthetic() const { return !files_; }
  // Of the tokenizer, kBadFormat unless `token` is a token of its own; some id of random weights.
  Expected<int32_t> token_id(const char* token) const;
  // Whether a step's guidance is more than none.
  bool is_guided(const PictureRequest& request) const;
  // kInvalidArgument for a guidance below 0, of models whose 0 is none.
  Status check_guidance(const PictureRequest& request) const;
  // kInvalidArgument for limits of guided velocities, of models that have none.
  Status check_no_guidance_limits(const PictureRequest& request) const;
  // The prompt, and `other`, what guidance steers away from, if any step is guided.
  Expected<std::vector<std::vector<int32_t>>> guided_texts(const PictureRequest& request,
                                                           std::string_view other) const;
  // Ids of a text in chat form, all of them in the text encoder's vocabulary.
  Expected<std::vector<int32_t>> read_text(std::string_view text,
                                           std::optional<int64_t> most_tokens) const;

 private:
  // A config and the objects nested in it, each with its table.
  Expected<std::vector<KeyedConfig>> keyed_config(ConfigKind kind, const JsonConfig& config) const;
  Status read_configs(const ModelPaths& paths);
  Status read_schedules(const ModelPaths& paths, const JsonConfig& index);
  Expected<JsonConfig> open_config(ConfigKind kind, const std::filesystem::path& path);
  Status check_part_classes(const JsonConfig& index) const;
  const PartFiles& transformer_files(int which) const {
    return which == 0 ? files_->transformer : *files_->unconditional;
  }
  std::vector<const PartFiles*> weight_parts() const;
  Status refuse_smoothed() const;
  Status read_transformer_headers(int which, std::shared_ptr<const Checkpoint> checkpoint);
  void note_other_parts(const ModelPaths& paths);
  std::vector<int32_t> made_up_ids(std::string_view prompt) const;
  Status check_ids(const std::vector<int32_t>& ids, bool were_given) const;

  std::optional<ModelFiles> files_;  // nullopt: random weights
  std::optional<JsonConfig> index_;
  std::optional<Tokenizer> tokenizer_;
  // "quoted_capitals" of the index's "intaglio": it draws capitals alone, and reads what a prompt
  // quotes as such.
  bool quoted_capitals_ = false;
  Rotation rotation_;  // of random weights
  // Of the transformers, for plans: how their linears are stored.
  std::vector<std::shared_ptr<const TensorSource>> sources_;
};

}  // namespace intaglio
