#include "pipeline/model_source.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "core/escape.h"
#include "io/checkpoint.h"
#include "io/printable.h"
#include "models/ideogram4/config_keys.h"
#include "models/ideogram4/model_sizes.h"
#include "models/qwen3/chat.h"

namespace intaglio {
namespace {

// The errors of several checks, which are all made.
class Problems {
 public:
  void note(const Status& status) {
    if (status) return;
    if (messages_.empty()) code_ = status.error().code;
    messages_.push_back(status.error().message);
  }
  Status status() const {
    if (messages_.empty()) return {};
    return make_error(code_, "{}", OwnLines{fmt::format("{}", fmt::join(messages_, "\n  "))});
  }

 private:
  ErrorCode code_ = ErrorCode::kBadFormat;
  std::vector<std::string> messages_;
};

// The config of a part; what it says that nobody reads joins `warnings`.
Expected<JsonConfig> open_config(ideogram4::ConfigKind kind, const std::filesystem::path& path,
                                 std::vector<std::string>& warnings) {
  INTAGLIO_ASSIGN(JsonConfig config, JsonConfig::open(path));
  const UnknownKeys unknown = ideogram4::unknown_keys(kind, config);
  if (!unknown.arithmetic.empty())
    warnings.push_back(fmt::format(
        "{}{}: unknown settings, passed over; pictures may differ from what the model means",
        config.where(), printable(fmt::format("{}", fmt::join(unknown.arithmetic, ", ")), 300)));
  return config;
}

// Both ends of the chat form must be tokens, or every prompt would be read as another text.
Status check_chat_tokens(const Tokenizer& tokenizer, const std::filesystem::path& file) {
  for (const char* token : {"<|im_start|>", "<|im_end|>"}) {
    INTAGLIO_ASSIGN(const std::vector<int32_t> ids, tokenizer.encode(token));
    if (ids.size() != 1)
      return make_error(ErrorCode::kBadFormat,
                        "{}: \"{}\" is no token of its own; the chat form of prompts needs it",
                        file.string(), token);
  }
  return {};
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
  FolderSource(JsonConfig index, ModelParts parts, Tokenizer tokenizer)
      : index_(std::move(index)), parts_(std::move(parts)), tokenizer_(std::move(tokenizer)) {}

  Status read(const ModelPaths& paths) {
    INTAGLIO_TRY(read_configs(paths));
    Problems problems;
    problems.note(join_parts(paths.folder.string()));
    problems.note(check_chat_tokens(tokenizer_, parts_.tokenizer));
    problems.note(check_weights(parts_.text_encoder, [&](auto checkpoint) {
      return qwen3::check_text_encoder_weights(std::move(checkpoint), text_);
    }));
    problems.note(check_weights(parts_.transformer, [&](auto checkpoint) {
      return ideogram4::check_transformer_weights(std::move(checkpoint), transformer_, true);
    }));
    if (parts_.unconditional)
      problems.note(check_weights(*parts_.unconditional, [&](auto checkpoint) {
        return ideogram4::check_transformer_weights(std::move(checkpoint), *unconditional_, false);
      }));
    problems.note(check_weights(parts_.vae, [&](auto checkpoint) {
      return autoencoder::check_decoder_weights(std::move(checkpoint), vae_);
    }));
    return problems.status();
  }

  // The index, what is read, and all else that lies in the folders of parts. Around a file from elsewhere may lie anything: other files there are not the
  // model's.
  std::vector<std::filesystem::path> files() const override {
    namespace fs = std::filesystem;
    std::error_code ignored;
    std::vector<fs::path> files{info_.folder / "model_index.json", parts_.tokenizer,
                                parts_.tokenizer.parent_path() / "tokenizer_config.json"};
    std::vector<fs::path> folders{info_.folder, info_.folder / "tokenizer",
                                  parts_.scheduler.parent_path()};
    for (const PartFiles* part : weight_parts()) {
      files.push_back(part->config);
      if (fs::is_directory(part->weights, ignored)) {
        folders.push_back(part->weights);
      } else if (const auto checkpoint = Checkpoint::open(part->weights)) {
        files.push_back(part->weights);
        for (const auto& file : (*checkpoint)->files()) files.push_back(file->path());
      }
    }
    // Pictures drawn into the folder are the user's to replace.
    for (const fs::path& folder : folders)
      for (const auto& entry : fs::directory_iterator(folder, ignored))
        if (entry.path().extension() != ".png") files.push_back(entry.path());
    return files;
  }

  Status check_keep_bf16(const LayerSelection& selection) const override {
    if (selection.keep_bf16.empty()) return {};
    INTAGLIO_ASSIGN(const auto checkpoint, Checkpoint::open(parts_.transformer.weights));
    std::vector<std::string> names;
    for (const TensorEntry* entry : checkpoint->tensors()) names.push_back(entry->name);
    return selection.check_keep_bf16(without_suffix(std::move(names), ".weight"));
  }

  Expected<std::vector<int32_t>> tokenize(std::string_view prompt) const override {
    return qwen3::tokenize_prompt(tokenizer_, prompt);
  }

  Expected<std::string> hash(const std::atomic<bool>* cancel) const override {
    uint64_t hash = 0;
    for (const PartFiles* part : weight_parts()) {
      INTAGLIO_ASSIGN(const auto checkpoint, Checkpoint::open(part->weights));
      INTAGLIO_ASSIGN(const uint64_t of_part, checkpoint->hash(cancel));
      hash = hash * 0x9E3779B97F4A7C15ULL + of_part;
    }
    return fmt::format("{:016x}", hash);
  }

  Expected<qwen3::TextEncoder> load_text_encoder(const Context& context,
                                                 const LayerSelection& selection,
                                                 uint64_t weight_budget) const override {
    return qwen3::TextEncoder::load(context, parts_.text_encoder, selection, &index_,
                                    weight_budget);
  }

  Expected<ideogram4::Transformer> load_transformer(
      const Context& context, TransformerRole role,
      const ideogram4::Transformer::LoadOptions& options) const override {
    if (role == TransformerRole::kConditional)
      return ideogram4::Transformer::load(context, parts_.transformer, options);
    if (!parts_.unconditional)
      return make_error(ErrorCode::kNotFound, "{} has no unconditional transformer", info_.name);
    return ideogram4::Transformer::load(context, *parts_.unconditional, options);
  }

  Expected<autoencoder::Decoder> load_vae(const Context& context, DType compute) const override {
    return autoencoder::Decoder::load(context, parts_.vae, compute);
  }

 private:
  Status read_configs(const ModelPaths& paths) {
    INTAGLIO_ASSIGN(info_, read_model_info(paths.folder, index_, parts_.scheduler,
                                           parts_.unconditional.has_value()));
    note_other_parts(paths);
    std::vector<std::string>& warnings = info_.warnings;
    INTAGLIO_TRY(open_config(ideogram4::ConfigKind::kModelIndex, paths.folder / "model_index.json",
                             warnings));
    INTAGLIO_TRY(open_config(ideogram4::ConfigKind::kScheduler, parts_.scheduler, warnings));
    const std::filesystem::path tokenizer =
        parts_.tokenizer.parent_path() / "tokenizer_config.json";
    std::error_code ignored;
    if (std::filesystem::exists(tokenizer, ignored)) {
      INTAGLIO_ASSIGN(const JsonConfig json,
                      open_config(ideogram4::ConfigKind::kTokenizer, tokenizer, warnings));
      INTAGLIO_TRY(ideogram4::check_known_keys(ideogram4::ConfigKind::kTokenizer, json));
    }
    Problems problems;
    problems.note(read_transformer(parts_.transformer.config, transformer_));
    if (parts_.unconditional)
      problems.note(read_transformer(parts_.unconditional->config, unconditional_.emplace()));
    problems.note(
        open_config(ideogram4::ConfigKind::kTextEncoder, parts_.text_encoder.config, warnings)
            .and_then([&](const JsonConfig& json) {
              return qwen3::parse_text_encoder_config(json, &index_);
            })
            .map([&](qwen3::TextEncoderConfig config) { text_ = std::move(config); }));
    problems.note(open_config(ideogram4::ConfigKind::kVae, parts_.vae.config, warnings)
                      .and_then(autoencoder::parse_decoder_config)
                      .map([&](autoencoder::DecoderConfig config) { vae_ = std::move(config); }));
    return problems.status();
  }

  Status read_transformer(const std::filesystem::path& path, ideogram4::TransformerConfig& config) {
    INTAGLIO_ASSIGN(const JsonConfig json,
                    open_config(ideogram4::ConfigKind::kTransformer, path, info_.warnings));
    INTAGLIO_ASSIGN(config, ideogram4::parse_transformer_config(json));
    return {};
  }

  // In the order of the hash.
  std::vector<const PartFiles*> weight_parts() const {
    std::vector<const PartFiles*> all{&parts_.text_encoder, &parts_.transformer};
    if (parts_.unconditional) all.push_back(&*parts_.unconditional);
    all.push_back(&parts_.vae);
    return all;
  }

  void note_other_parts(const ModelPaths& paths) {
    const auto note = [&](const char* part, bool given, const std::filesystem::path& place) {
      if (given) info_.other_parts.emplace_back(part, place);
    };
    note("transformer", paths.transformer.has_value(), parts_.transformer.weights);
    if (parts_.unconditional)
      note("unconditional_transformer", paths.unconditional.has_value(),
           parts_.unconditional->weights);
    note("text_encoder", paths.text_encoder.has_value(), parts_.text_encoder.weights);
    note("vae", paths.vae.has_value(), parts_.vae.weights);
    note("tokenizer", paths.tokenizer.has_value(), parts_.tokenizer);
  }

  template <typename Check>
  static Status check_weights(const PartFiles& part, Check check) {
    INTAGLIO_ASSIGN(std::shared_ptr<const Checkpoint> checkpoint, Checkpoint::open(part.weights));
    return check(std::move(checkpoint));
  }

  JsonConfig index_;
  ModelParts parts_;
  Tokenizer tokenizer_;
};

class RandomSource final : public ModelSource {
 public:
  RandomSource(ModelInfo info, const ideogram4::ModelSizes& sizes) {
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
    for (auto& [name, shape] : ideogram4::transformer_tensor_shapes(transformer_, true))
      names.push_back(name);
    return selection.check_keep_bf16(without_suffix(std::move(names), ".weight"));
  }

  // Some ids, as many as a byte pair encoding makes of English: one for four bytes.
  Expected<std::vector<int32_t>> tokenize(std::string_view prompt) const override {
    constexpr size_t kBytesPerToken = 4;
    const std::string chat = qwen3::chat_form(prompt);
    std::vector<int32_t> ids;
    uint64_t hash = 0;
    for (size_t i = 0; i < chat.size(); ++i) {
      hash = hash * 0x100000001B3ULL + static_cast<unsigned char>(chat[i]);
      if (i % kBytesPerToken == kBytesPerToken - 1 || i + 1 == chat.size())
        ids.push_back(static_cast<int32_t>(hash % static_cast<uint64_t>(text_.vocab)));
    }
    INTAGLIO_TRY(qwen3::check_prompt_tokens(static_cast<int64_t>(ids.size())));
    return ids;
  }

  Expected<std::string> hash(const std::atomic<bool>*) const override {
    return std::string("0000000000000000");  // no weights of anyone's
  }

  Expected<qwen3::TextEncoder> load_text_encoder(const Context& context,
                                                 const LayerSelection& selection,
                                                 uint64_t weight_budget) const override {
    return qwen3::TextEncoder::synthetic(context, text_, selection, 1, weight_budget);
  }

  Expected<ideogram4::Transformer> load_transformer(
      const Context& context, TransformerRole role,
      const ideogram4::Transformer::LoadOptions& options) const override {
    const bool conditional = role == TransformerRole::kConditional;
    return ideogram4::Transformer::synthetic(context, conditional ? transformer_ : *unconditional_,
                                             options, conditional ? 2 : 3);
  }

  Expected<autoencoder::Decoder> load_vae(const Context& context, DType compute) const override {
    return autoencoder::Decoder::synthetic(context, vae_, compute, 4);
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
  if (unconditional_ && unconditional_->channels != transformer_.channels) {
    return make_error(ErrorCode::kBadFormat,
                      "{}: the transformer has {} channels a token, the unconditional one {} "
                      "(in_channels)",
                      where, transformer_.channels, unconditional_->channels);
  }
  info_.pixels_per_token = 2 * vae_.scale_factor();
  info_.latent_channels = transformer_.channels;
  return {};
}

Expected<std::unique_ptr<ModelSource>> ModelSource::open(const ModelPaths& paths) {
  INTAGLIO_ASSIGN(JsonConfig index, JsonConfig::open(paths.folder / "model_index.json"));
  INTAGLIO_ASSIGN(ModelParts parts, find_model_parts(paths, index));
  INTAGLIO_ASSIGN(Tokenizer tokenizer, Tokenizer::open(parts.tokenizer));
  auto source =
      std::make_unique<FolderSource>(std::move(index), std::move(parts), std::move(tokenizer));
  INTAGLIO_TRY(source->read(paths));
  return source;
}

Expected<std::unique_ptr<ModelSource>> ModelSource::synthetic(std::string_view name) {
  const std::optional<ideogram4::ModelSizes> sizes = ideogram4::model_sizes(name);
  if (!sizes) {
    return make_error(ErrorCode::kNotFound, "synthetic:{}: no such sizes; known are {}", name,
                      fmt::join(ideogram4::model_size_names(), ", "));
  }
  ModelInfo info;
  info.name = fmt::format("synthetic:{}", name);
  info.default_width = info.default_height = sizes->default_side;
  info.default_steps = sizes->default_steps;
  INTAGLIO_ASSIGN(info.presets, published_presets());
  auto source = std::make_unique<RandomSource>(std::move(info), *sizes);
  INTAGLIO_TRY(source->join());
  return source;
}

}  // namespace intaglio
