#include "models/diffusers_model.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/escape.h"
#include "io/checkpoint.h"
#include "io/printable.h"
#include "models/autoencoder/config_keys.h"
#include "models/autoencoder/module_names.h"
#include "models/hash_cache.h"
#include "models/parts/unmatched_adapters.h"
#include "models/problems.h"
#include "models/qwen3/config_keys.h"
#include "models/smoothing.h"
#include "text/quoted_text.h"

namespace intaglio {
namespace {

namespace fs = std::filesystem;

// Seeds of the parts of a model of random weights.
constexpr uint64_t kTextSeed = 1, kTransformerSeed = 2, kVaeSeed = 4;

template <typename Check>
Status check_weights(const PartFiles& part, Check check) {
  INTAGLIO_ASSIGN(std::shared_ptr<const Checkpoint> checkpoint, Checkpoint::open(part.weights));
  return check(std::move(checkpoint));
}

// A half of an autoencoder.
template <typename Half>
Expected<Half> load_half(const Context& context, const std::optional<ModelFiles>& files,
                         const autoencoder::DecoderConfig& config, DType compute) {
  if (!files) return Half::synthetic(context, config, compute, kVaeSeed);
  INTAGLIO_ASSIGN(Half half, Half::load(context, files->vae, compute));
  half.set_packing(config.packing);
  return half;
}

}  // namespace

Status DiffusersModel::open(const ModelPaths& paths, JsonConfig index) {
  INTAGLIO_ASSIGN(files_, find_model_files(paths, index));
  INTAGLIO_ASSIGN(tokenizer_, Tokenizer::open(files_->tokenizer));
  index_ = std::move(index);
  INTAGLIO_TRY(read_configs(paths));
  Problems problems;
  problems.note(join_parts(paths.folder.string()));
  // Both ends of the chat form must be tokens, or every prompt would be read as another text.
  for (const char* token : {"<|im_start|>", "<|im_end|>"})
    problems.note(token_id(token).map([](int32_t) {}));
  problems.note(check_weights(files_->text_encoder, [&](auto checkpoint) {
    return qwen3::check_text_encoder_weights(std::move(checkpoint), text_);
  }));
  for (int which = 0; which < transformers(); ++which) {
    problems.note(check_weights(transformer_files(which), [&](auto checkpoint) {
      return read_transformer_headers(which, std::move(checkpoint));
    }));
  }
  problems.note(check_weights(files_->vae, [&](auto checkpoint) {
    return autoencoder::check_decoder_weights(checkpoint, vae_);
  }));
  info_.takes_init_picture = check_encoder().has_value();
  return problems.status();
}

Status DiffusersModel::read_transformer_headers(int which,
                                                std::shared_ptr<const Checkpoint> checkpoint) {
  INTAGLIO_ASSIGN(std::shared_ptr<const TensorSource> source,
                  make_transformer(which, {})->open_source(std::move(checkpoint)));
  sources_.resize(static_cast<size_t>(transformers()));
  sources_[static_cast<size_t>(which)] = std::move(source);
  return {};
}

std::unique_ptr<Transformer> DiffusersModel::transformer(int which,
                                                         TransformerOptions options) const {
  if (static_cast<size_t>(which) < sources_.size())
    options.source = sources_[static_cast<size_t>(which)];
  options.part = which == 0 ? "transformer" : "unconditional_transformer";
  return make_transformer(which, std::move(options));
}

Status DiffusersModel::use_sizes(std::string_view name, std::optional<int64_t> layers,
                                 Rotation rotation) {
  INTAGLIO_TRY(describe_schedules(true));
  info_.name = fmt::format("synthetic:{}", name);
  rotation_ = rotation;
  if (rotation.kind == RotationKind::kConvRot)
    info_.name += fmt::format("+convrot{}", rotation.group);
  INTAGLIO_TRY(set_sizes(name));
  if (layers) set_layers(*layers);
  info_.takes_init_picture = true;
  sources_.clear();
  for (int which = 0; which < transformers(); ++which)
    sources_.push_back(std::make_shared<SyntheticSource>(kTransformerSeed, nullptr, rotation_));
  return join_parts(info_.name);
}

std::optional<std::set<std::string>> DiffusersModel::needed_tensors(std::string_view part,
                                                                    const JsonConfig& config,
                                                                    const JsonConfig& index) {
  std::set<std::string> names;
  const auto add = [&](const TensorShapes& shapes, std::span<const ModuleAlias> aliases = {}) {
    for (const auto& [name, shape] : shapes)
      for (std::string& stored : stored_names(name, aliases)) names.insert(std::move(stored));
  };
  if (part == "transformer" || part == "unconditional_transformer") {
    const auto transformer = transformer_of(part == "transformer" ? 0 : 1, config, {});
    if (!transformer) return std::nullopt;
    add((*transformer)->tensor_shapes(), (*transformer)->aliases());
  } else if (part == "text_encoder") {
    if (!read_text_encoder(config, index)) return std::nullopt;
    for (const char* prefix : qwen3::kWeightPrefixes)
      add(qwen3::text_encoder_tensor_shapes(text_, prefix), qwen3::weight_aliases());
  } else if (part == "vae") {
    const auto decoder = autoencoder::parse_decoder_config(config);
    if (!decoder) return std::nullopt;
    const autoencoder::ModuleNames names(*decoder);
    add(autoencoder::decoder_tensor_shapes(*decoder), names.aliases());
    add(autoencoder::encoder_tensor_shapes(*decoder), names.aliases());
  } else {
    return std::nullopt;
  }
  for (const std::string_view marker : checkpoint_markers()) names.insert(std::string(marker));
  return names;
}

Expected<ModelInfo> DiffusersModel::read_info(const ModelPaths& paths, const JsonConfig& index) {
  INTAGLIO_ASSIGN(files_, find_model_files(paths, index));
  INTAGLIO_TRY(read_schedules(paths, index));
  return info_;
}

Status DiffusersModel::read_schedules(const ModelPaths& paths, const JsonConfig& index) {
  INTAGLIO_TRY(check_known_keys(ConfigKind::kModelIndex, index));
  INTAGLIO_TRY(describe_schedules(files_->unconditional.has_value()));
  INTAGLIO_TRY(read_index(index));
  INTAGLIO_ASSIGN(info_.name, model_name(paths.folder));
  info_.folder = paths.folder;
  INTAGLIO_ASSIGN(const JsonConfig scheduler, JsonConfig::open(files_->scheduler));
  INTAGLIO_TRY(check_known_keys(ConfigKind::kScheduler, scheduler));
  INTAGLIO_TRY(read_scheduler(scheduler));
  std::error_code ignored;
  if (const fs::path masks = paths.folder / kStepMaskFile; fs::exists(masks, ignored)) {
    INTAGLIO_ASSIGN(const JsonConfig file, JsonConfig::open(masks));
    INTAGLIO_ASSIGN(info_.masks, read_step_masks(file));
  }
  if (index.contains("intaglio")) {
    INTAGLIO_ASSIGN(const JsonConfig own, index.object("intaglio"));
    INTAGLIO_ASSIGN(quoted_capitals_, own.boolean_or("quoted_capitals", false));
  }
  return read_own_defaults(index, info_);
}

// The config of a part; what it says that nobody reads joins the warnings.
Expected<JsonConfig> DiffusersModel::open_config(ConfigKind kind, const fs::path& path) {
  INTAGLIO_ASSIGN(JsonConfig config, JsonConfig::open(path));
  const UnknownKeys unknown = unknown_keys(kind, config);
  if (!unknown.arithmetic.empty())
    info_.warnings.push_back(fmt::format(
        "{}{}: unknown settings, passed over; pictures may differ from what the model means",
        config.where(), printable(fmt::format("{}", fmt::join(unknown.arithmetic, ", ")), 300)));
  return config;
}

Status DiffusersModel::read_configs(const ModelPaths& paths) {
  INTAGLIO_TRY(read_schedules(paths, *index_));
  note_other_parts(paths);
  INTAGLIO_TRY(open_config(ConfigKind::kModelIndex, paths.folder / "model_index.json"));
  INTAGLIO_TRY(open_config(ConfigKind::kScheduler, files_->scheduler));
  const fs::path tokenizer = files_->tokenizer.parent_path() / "tokenizer_config.json";
  std::error_code ignored;
  if (fs::exists(tokenizer, ignored)) {
    INTAGLIO_ASSIGN(const JsonConfig json, open_config(ConfigKind::kTokenizer, tokenizer));
    INTAGLIO_TRY(check_known_keys(ConfigKind::kTokenizer, json));
  }
  Problems problems;
  const auto read = [&](ConfigKind kind, const PartFiles& part, const auto& reader) {
    const Expected<JsonConfig> config = open_config(kind, part.config);
    problems.note(config ? reader(*config) : tl::unexpected<Error>(config.error()));
  };
  read(ConfigKind::kTransformer, files_->transformer,
       [&](const JsonConfig& config) { return read_transformer(0, config); });
  if (files_->unconditional)
    read(ConfigKind::kTransformer, *files_->unconditional,
         [&](const JsonConfig& config) { return read_transformer(1, config); });
  read(ConfigKind::kTextEncoder, files_->text_encoder,
       [&](const JsonConfig& config) { return read_text_encoder(config, *index_); });
  read(ConfigKind::kVae, files_->vae, [&](const JsonConfig& config) -> Status {
    INTAGLIO_ASSIGN(vae_, autoencoder::parse_decoder_config(config));
    return {};
  });
  return problems.status();
}

void DiffusersModel::note_other_parts(const ModelPaths& paths) {
  const auto note = [&](const char* part, bool given, const fs::path& place) {
    if (given) info_.other_parts.emplace_back(part, place);
  };
  note("transformer", paths.transformer.has_value(), files_->transformer.weights);
  if (files_->unconditional)
    note("unconditional_transformer", paths.unconditional.has_value(),
         files_->unconditional->weights);
  note("text_encoder", paths.text_encoder.has_value(), files_->text_encoder.weights);
  note("vae", paths.vae.has_value(), files_->vae.weights);
  note("tokenizer", paths.tokenizer.has_value(), files_->tokenizer);
}

Status DiffusersModel::check_part_classes(const JsonConfig& index) const {
  std::vector<PartClasses> parts = part_classes();
  parts.push_back({"scheduler", {"FlowMatchEulerDiscreteScheduler"}});
  parts.push_back(
      {"tokenizer",
       {"TokenizersBackend", "Qwen2Tokenizer", "Qwen2TokenizerFast", "PreTrainedTokenizerFast"}});
  std::vector<std::string> problems;
  for (const PartClasses& part : parts) {
    if (!index.contains(std::string(part.part))) continue;
    const nlohmann::json& value = index.json().at(std::string(part.part));
    const bool is_pair = value.is_array() && value.size() == 2;
    if (is_pair && value.at(1).is_null()) continue;  // a part this model does without
    const std::string name =
        is_pair && value.at(1).is_string() ? value.at(1).get<std::string>() : std::string();
    if (std::find(part.classes.begin(), part.classes.end(), name) != part.classes.end()) continue;
    problems.push_back(fmt::format("{}{}: found {}, supported is {}", index.where(), part.part,
                                   name.empty() ? "no [library, class]" : printable(name, 60),
                                   fmt::join(part.classes, " or ")));
  }
  if (problems.empty()) return {};
  return make_error(ErrorCode::kUnsupported, "{}",
                    OwnLines{fmt::format("{}", fmt::join(problems, "\n  "))});
}

Expected<std::vector<KeyedConfig>> DiffusersModel::keyed_config(ConfigKind kind,
                                                                const JsonConfig& config) const {
  const ConfigTables tables = config_tables();
  switch (kind) {
    case ConfigKind::kModelIndex:
      return keyed_model_index(config, tables.model_index);
    case ConfigKind::kScheduler:
      return std::vector<KeyedConfig>{{config, tables.scheduler}};
    case ConfigKind::kTransformer:
      return std::vector<KeyedConfig>{{config, tables.transformer}};
    case ConfigKind::kTextEncoder:
      return qwen3::keyed_text_config(config);
    case ConfigKind::kVae:
      return autoencoder::keyed_config(config);
    case ConfigKind::kTokenizer:
      return qwen3::keyed_tokenizer_config(config);
  }
  return std::vector<KeyedConfig>();
}

Status DiffusersModel::check_known_keys(ConfigKind kind, const JsonConfig& config) const {
  if (kind == ConfigKind::kModelIndex) INTAGLIO_TRY(check_part_classes(config));
  INTAGLIO_ASSIGN(const std::vector<KeyedConfig> keyed, keyed_config(kind, config));
  return check_config_keys(keyed);
}

UnknownKeys DiffusersModel::unknown_keys(ConfigKind kind, const JsonConfig& config) const {
  const Expected<std::vector<KeyedConfig>> keyed = keyed_config(kind, config);
  return keyed ? unknown_config_keys(*keyed) : UnknownKeys();
}

// In the order of the hash.
std::vector<const PartFiles*> DiffusersModel::weight_parts() const {
  std::vector<const PartFiles*> all{&files_->text_encoder, &files_->transformer};
  if (files_->unconditional) all.push_back(&*files_->unconditional);
  all.push_back(&files_->vae);
  return all;
}

// The index, what is read, and all else that lies in the folders of parts. Around a file from
// elsewhere may lie anything: other files there are not the model's.
std::vector<fs::path> DiffusersModel::files() const {
  if (!files_) return {};
  std::error_code ignored;
  std::vector<fs::path> files{info_.folder / "model_index.json", files_->tokenizer,
                              files_->tokenizer.parent_path() / "tokenizer_config.json"};
  std::vector<fs::path> folders{info_.folder, info_.folder / "tokenizer",
                                files_->scheduler.parent_path()};
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

Expected<std::string> DiffusersModel::hash(const std::atomic<bool>* cancel) const {
  uint64_t hash = 0;  // of no weights of anyone's, if there are no files
  if (files_) {
    for (const PartFiles* part : weight_parts()) {
      INTAGLIO_ASSIGN(const auto checkpoint, Checkpoint::open(part->weights));
      INTAGLIO_ASSIGN(const uint64_t of_part, kept_hash(*checkpoint, cancel));
      hash = hash * 0x9E3779B97F4A7C15ULL + of_part;
    }
  }
  return fmt::format("{:016x}", hash);
}

Status DiffusersModel::check_keep_bf16(const LayerSelection& selection) const {
  if (selection.keep_bf16.empty()) return {};
  return selection.check_keep_bf16(transformer(0, {})->quantized_linears());
}

// An adapter's numbers are of a linear's input as the model itself has it.
Status DiffusersModel::refuse_smoothed() const {
  if (!files_) return {};
  for (int which = 0; which < transformers(); ++which) {
    INTAGLIO_ASSIGN(const auto checkpoint, Checkpoint::open(transformer_files(which).weights));
    if (!is_smoothed(*checkpoint)) continue;
    return make_error(
        ErrorCode::kUnsupported,
        "{}: adapters do not fit it: its linears were smoothed (SmoothQuant, \"{}\" in "
        "its header), so they read other inputs than those of the model that an "
        "adapter was made for; take a file of --scheme convrot or row",
        checkpoint->path().string(), kSmoothedKey);
  }
  return {};
}

Expected<std::vector<std::string>> DiffusersModel::check_adapters(
    std::span<const AdapterUse> adapters) const {
  if (adapters.empty()) return std::vector<std::string>();
  INTAGLIO_TRY(refuse_smoothed());
  TransformerOptions options;
  options.adapters.assign(adapters.begin(), adapters.end());
  std::set<const TensorEntry*> matched;
  for (int which = 0; which < transformers(); ++which) {
    INTAGLIO_ASSIGN(const std::set<const TensorEntry*> found,
                    transformer(which, options)->match_adapters());
    matched.insert(found.begin(), found.end());
  }
  return unmatched_adapters(adapters, matched, info_.name);
}

Status DiffusersModel::join_latents(const std::string& where, std::string_view vae_class,
                                    int64_t channels) {
  INTAGLIO_TRY(autoencoder::check_latents(vae_, vae_class, channels, where));
  info_.pixels_per_token = 2 * vae_.scale_factor();
  info_.latent_channels = channels;
  return {};
}

bool DiffusersModel::is_guided(const PictureRequest& request) const {
  return std::any_of(request.guidance.begin(), request.guidance.end(),
                     [&](float g) { return g > info_.no_guidance; });
}

Status DiffusersModel::check_guidance(const PictureRequest& request) const {
  const auto wrong = std::find_if(request.guidance.begin(), request.guidance.end(),
                                  [](float g) { return g < 0.0f; });
  if (wrong == request.guidance.end()) return {};
  return make_error(ErrorCode::kInvalidArgument, "guidance {}: {} takes 0, which is none, and more",
                    *wrong, info_.name);
}

Status DiffusersModel::check_no_guidance_limits(const PictureRequest& request) const {
  if (request.cfg_normalization != 0.0)
    return make_error(ErrorCode::kInvalidArgument, "cfg_normalization: {} has none", info_.name);
  if (request.cfg_truncation != 1.0)
    return make_error(ErrorCode::kInvalidArgument, "cfg_truncation: {} has none", info_.name);
  return {};
}

Expected<std::vector<std::vector<int32_t>>> DiffusersModel::guided_texts(
    const PictureRequest& request, std::string_view other) const {
  INTAGLIO_ASSIGN(auto texts, DiffusersModel::texts(request));
  if (!is_guided(request)) return texts;
  INTAGLIO_ASSIGN(std::vector<int32_t> ids, read_text(other, request.max_sequence_length));
  texts.push_back(std::move(ids));
  return texts;
}

Expected<int32_t> DiffusersModel::token_id(const char* token) const {
  if (!tokenizer_) return static_cast<int32_t>(text_.vocab - 1);
  INTAGLIO_ASSIGN(const std::vector<int32_t> ids, tokenizer_->encode(token));
  if (ids.size() == 1) return ids.front();
  return make_error(ErrorCode::kBadFormat,
                    "{}: \"{}\" is no token of its own; the chat form of prompts needs it",
                    files_->tokenizer.string(), token);
}

Expected<std::vector<int32_t>> DiffusersModel::tokenize(std::string_view prompt,
                                                        std::optional<int64_t> most_tokens) const {
  qwen3::ChatForm form = chat_form();
  if (most_tokens && !form.cuts)
    return make_error(ErrorCode::kInvalidArgument, "max_sequence_length: {} cuts no prompts",
                      info_.name);
  form.most_tokens = most_tokens.value_or(form.most_tokens);
  if (tokenizer_ && quoted_capitals_)
    return qwen3::tokenize_prompt(*tokenizer_, form, capitals_in_quotes(prompt));
  if (tokenizer_) return qwen3::tokenize_prompt(*tokenizer_, form, prompt);
  std::vector<int32_t> ids = made_up_ids(prompt);
  INTAGLIO_TRY(qwen3::limit_prompt_tokens(form, ids));
  return ids;
}

// Some ids, as many as a byte pair encoding makes of English: one for four bytes.
std::vector<int32_t> DiffusersModel::made_up_ids(std::string_view prompt) const {
  constexpr size_t kBytesPerToken = 4;
  const std::string chat = chat_form().around(prompt);
  std::vector<int32_t> ids;
  uint64_t hash = 0;
  for (size_t i = 0; i < chat.size(); ++i) {
    hash = hash * 0x100000001B3ULL + static_cast<unsigned char>(chat[i]);
    if (i % kBytesPerToken == kBytesPerToken - 1 || i + 1 == chat.size())
      ids.push_back(static_cast<int32_t>(hash % static_cast<uint64_t>(text_.vocab)));
  }
  return ids;
}

Status DiffusersModel::check_ids(const std::vector<int32_t>& ids, bool were_given) const {
  for (const int32_t id : ids) {
    if ((id >= 0 && id < text_.vocab) || (id == qwen3::kPadding && !were_given)) continue;
    return make_error(were_given ? ErrorCode::kInvalidArgument : ErrorCode::kBadFormat,
                      "text token {} is not in the text encoder's vocabulary of {}{}", id,
                      text_.vocab,
                      were_given ? "" : "; the tokenizer is not that of this text encoder");
  }
  return {};
}

Expected<std::vector<int32_t>> DiffusersModel::read_text(std::string_view text,
                                                         std::optional<int64_t> most_tokens) const {
  INTAGLIO_ASSIGN(std::vector<int32_t> ids, tokenize(text, most_tokens));
  INTAGLIO_TRY(check_ids(ids, false));
  return ids;
}

Expected<std::vector<std::vector<int32_t>>> DiffusersModel::texts(
    const PictureRequest& request) const {
  if (request.negative_prompt && !info_.negative_prompt_refusal.empty())
    return make_error(ErrorCode::kInvalidArgument, "negative prompt: {} takes none: {}", info_.name,
                      info_.negative_prompt_refusal);
  std::vector<int32_t> ids;
  if (request.token_ids) {
    ids = *request.token_ids;
    if (ids.empty()) return make_error(ErrorCode::kInvalidArgument, "no text tokens were given");
    INTAGLIO_TRY(qwen3::check_prompt_tokens(chat_form(), ids));
    INTAGLIO_TRY(check_ids(ids, true));
    INTAGLIO_TRY(qwen3::limit_prompt_tokens(chat_form(), ids));
  } else {
    INTAGLIO_ASSIGN(ids, read_text(request.prompt, request.max_sequence_length));
  }
  std::vector<std::vector<int32_t>> texts;
  texts.push_back(std::move(ids));
  return texts;
}

Expected<qwen3::TextEncoder> DiffusersModel::load_text_encoder(const Context& context,
                                                               const LayerSelection& selection,
                                                               uint64_t weight_budget) const {
  if (!files_)
    return qwen3::TextEncoder::synthetic(context, text_, selection, kTextSeed, weight_budget);
  return qwen3::TextEncoder::load(context, files_->text_encoder.weights, text_, selection,
                                  weight_budget);
}

Expected<std::unique_ptr<Transformer>> DiffusersModel::load_transformer(
    const Context& context, int which, TransformerOptions options) const {
  if (which >= transformers())
    return make_error(ErrorCode::kNotFound, "{} has no transformer {}", info_.name, which);
  std::unique_ptr<Transformer> loaded = transformer(which, std::move(options));
  if (!files_) {
    SyntheticSource source(kTransformerSeed + static_cast<uint64_t>(which), context.cancel,
                           rotation_);
    INTAGLIO_TRY(loaded->load(context, source));
    return loaded;
  }
  INTAGLIO_ASSIGN(std::shared_ptr<const Checkpoint> checkpoint,
                  Checkpoint::open(transformer_files(which).weights));
  INTAGLIO_ASSIGN(const std::shared_ptr<CheckpointSource> source,
                  loaded->open_source(std::move(checkpoint)));
  INTAGLIO_TRY(loaded->load(context, *source));
  return loaded;
}

Expected<autoencoder::Decoder> DiffusersModel::load_vae(const Context& context,
                                                        DType compute) const {
  return load_half<autoencoder::Decoder>(context, files_, vae_, compute);
}

Status DiffusersModel::check_encoder() const {
  if (!files_) return {};
  return check_weights(files_->vae, [&](auto checkpoint) {
    return autoencoder::check_encoder_weights(checkpoint, vae_);
  });
}

Expected<autoencoder::Encoder> DiffusersModel::load_encoder(const Context& context,
                                                            DType compute) const {
  return load_half<autoencoder::Encoder>(context, files_, vae_, compute);
}

}  // namespace intaglio
