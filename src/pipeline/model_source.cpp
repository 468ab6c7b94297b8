#include "pipeline/model_source.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>

#include "io/checkpoint.h"
#include "models/ideogram4/model_sizes.h"
#include "text/chat.h"

namespace intaglio {
namespace {

constexpr const char* role_folder(TransformerRole role) {
  return role == TransformerRole::kConditional ? "transformer" : "unconditional_transformer";
}

std::vector<std::string> without_suffix(std::vector<std::string> names, std::string_view suffix) {
  std::vector<std::string> linears;
  for (std::string& name : names) {
    if (!name.ends_with(suffix)) continue;
    name.resize(name.size() - suffix.size());
    linears.push_back(std::move(name));
  }
  return linears;
}

class FolderSource final : public ModelSource {
 public:
  FolderSource(JsonConfig index, Tokenizer tokenizer)
      : index_(std::move(index)), tokenizer_(std::move(tokenizer)) {}

  Status read_configs(const std::filesystem::path& folder) {
    INTAGLIO_ASSIGN(info_, read_model_info(folder, index_));
    INTAGLIO_ASSIGN(const JsonConfig transformer,
                    JsonConfig::open(folder / "transformer" / "config.json"));
    INTAGLIO_ASSIGN(transformer_, parse_transformer_config(transformer));
    INTAGLIO_ASSIGN(const JsonConfig unconditional,
                    JsonConfig::open(folder / "unconditional_transformer" / "config.json"));
    INTAGLIO_ASSIGN(unconditional_, parse_transformer_config(unconditional));
    INTAGLIO_ASSIGN(const JsonConfig text,
                    JsonConfig::open(folder / "text_encoder" / "config.json"));
    INTAGLIO_ASSIGN(text_, parse_text_encoder_config(text, &index_));
    INTAGLIO_ASSIGN(const JsonConfig vae, JsonConfig::open(folder / "vae" / "config.json"));
    INTAGLIO_ASSIGN(vae_, parse_flux2_vae_config(vae));
    return join_parts(folder.string());
  }

  // The index and all that lies in the folders of its parts.
  std::vector<std::filesystem::path> files() const override {
    std::vector<std::filesystem::path> files{info_.folder / "model_index.json"};
    for (const char* part : {"transformer", "unconditional_transformer", "text_encoder", "vae",
                             "tokenizer", "scheduler"}) {
      std::error_code ignored;
      for (const auto& entry : std::filesystem::directory_iterator(info_.folder / part, ignored))
        files.push_back(entry.path());
    }
    return files;
  }

  Status check_keep_bf16(const LayerSelection& selection) const override {
    if (selection.keep_bf16.empty()) return {};
    INTAGLIO_ASSIGN(const auto checkpoint, Checkpoint::open(info_.folder / "transformer"));
    std::vector<std::string> names;
    for (const TensorEntry* entry : checkpoint->tensors()) names.push_back(entry->name);
    return selection.check_keep_bf16(without_suffix(std::move(names), ".weight"));
  }

  Expected<std::vector<int32_t>> tokenize(std::string_view prompt) const override {
    return tokenize_prompt(tokenizer_, prompt);
  }

  Expected<std::string> hash() const override {
    uint64_t hash = 0;
    for (const char* part : {"text_encoder", "transformer", "unconditional_transformer", "vae"}) {
      INTAGLIO_ASSIGN(const auto checkpoint, Checkpoint::open(info_.folder / part));
      INTAGLIO_ASSIGN(const uint64_t of_part, checkpoint->hash());
      hash = hash * 0x9E3779B97F4A7C15ULL + of_part;
    }
    return fmt::format("{:016x}", hash);
  }

  Expected<TextEncoder> load_text_encoder(const Context& context, const LayerSelection& selection,
                                          uint64_t weight_budget) const override {
    return TextEncoder::load(context, info_.folder / "text_encoder", selection, &index_,
                             weight_budget);
  }

  Expected<Transformer> load_transformer(const Context& context, TransformerRole role,
                                         const Transformer::LoadOptions& options) const override {
    return Transformer::load(context, info_.folder / role_folder(role), options);
  }

  Expected<Flux2VaeDecoder> load_vae(const Context& context, DType compute) const override {
    return Flux2VaeDecoder::load(context, info_.folder / "vae", compute);
  }

 private:
  JsonConfig index_;
  Tokenizer tokenizer_;
};

class RandomSource final : public ModelSource {
 public:
  RandomSource(ModelInfo info, const ModelSizes& sizes) {
    info_ = std::move(info);
    transformer_ = sizes.conditional;
    unconditional_ = sizes.unconditional;
    text_ = sizes.text;
    vae_ = sizes.vae;
  }

  Status join() { return join_parts(info_.name); }

  Status check_keep_bf16(const LayerSelection& selection) const override {
    if (selection.keep_bf16.empty()) return {};
    std::vector<std::string> names;
    for (auto& [name, shape] : transformer_tensor_shapes(transformer_, true)) names.push_back(name);
    return selection.check_keep_bf16(without_suffix(std::move(names), ".weight"));
  }

  // Some ids, as many as a byte pair encoding makes of English: one for four bytes.
  Expected<std::vector<int32_t>> tokenize(std::string_view prompt) const override {
    constexpr size_t kBytesPerToken = 4;
    const std::string chat = chat_form(prompt);
    std::vector<int32_t> ids;
    uint64_t hash = 0;
    for (size_t i = 0; i < chat.size(); ++i) {
      hash = hash * 0x100000001B3ULL + static_cast<unsigned char>(chat[i]);
      if (i % kBytesPerToken == kBytesPerToken - 1 || i + 1 == chat.size())
        ids.push_back(static_cast<int32_t>(hash % static_cast<uint64_t>(text_.vocab)));
    }
    INTAGLIO_TRY(check_prompt_tokens(static_cast<int64_t>(ids.size())));
    return ids;
  }

  Expected<std::string> hash() const override {
    return std::string("0000000000000000");  // no weights of anyone's
  }

  Expected<TextEncoder> load_text_encoder(const Context& context, const LayerSelection& selection,
                                          uint64_t weight_budget) const override {
    return TextEncoder::synthetic(context, text_, selection, 1, weight_budget);
  }

  Expected<Transformer> load_transformer(const Context& context, TransformerRole role,
                                         const Transformer::LoadOptions& options) const override {
    const bool conditional = role == TransformerRole::kConditional;
    return Transformer::synthetic(context, conditional ? transformer_ : *unconditional_, options,
                                  conditional ? 2 : 3);
  }

  Expected<Flux2VaeDecoder> load_vae(const Context& context, DType compute) const override {
    return Flux2VaeDecoder::synthetic(context, vae_, compute, 4);
  }
};

}  // namespace

Status ModelSource::join_parts(const std::string& where) {
  if (text_.feature_dim() != transformer_.text_dim) {
    return make_error(ErrorCode::kBadFormat,
                      "{}: the text encoder gives {} features a token ({} channels x {} taps), the "
                      "transformer reads {} (llm_features_dim)",
                      where, text_.feature_dim(), text_.hidden, text_.taps.size(),
                      transformer_.text_dim);
  }
  if (vae_.latent_channels * 4 != transformer_.channels) {
    return make_error(ErrorCode::kBadFormat,
                      "{}: the transformer has {} channels a token, the VAE packs {} (2 x 2 x {})",
                      where, transformer_.channels, vae_.latent_channels * 4, vae_.latent_channels);
  }
  info_.pixels_per_token = 2 * vae_.scale_factor();
  info_.latent_channels = transformer_.channels;
  return {};
}

Expected<std::unique_ptr<ModelSource>> ModelSource::open(const std::filesystem::path& folder) {
  INTAGLIO_ASSIGN(JsonConfig index, JsonConfig::open(folder / "model_index.json"));
  INTAGLIO_ASSIGN(Tokenizer tokenizer, Tokenizer::open(folder / "tokenizer" / "tokenizer.json"));
  auto source = std::make_unique<FolderSource>(std::move(index), std::move(tokenizer));
  INTAGLIO_TRY(source->read_configs(folder));
  return source;
}

Expected<std::unique_ptr<ModelSource>> ModelSource::synthetic(std::string_view name) {
  const std::optional<ModelSizes> sizes = model_sizes(name);
  if (!sizes) {
    return make_error(ErrorCode::kNotFound, "synthetic:{}: no such sizes; known are {}", name,
                      fmt::join(model_size_names(), ", "));
  }
  ModelInfo info;
  info.name = fmt::format("synthetic:{}", name);
  info.default_width = info.default_height = sizes->default_side;
  info.default_steps = sizes->default_steps;
  auto source = std::make_unique<RandomSource>(std::move(info), *sizes);
  INTAGLIO_TRY(source->join());
  return source;
}

}  // namespace intaglio
