#include "verify/verify.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <regex>

#include "core/files.h"
#include "core/memory.h"
#include "core/relative_error.h"
#include "io/json_config.h"
#include "io/safetensors.h"
#include "models/autoencoder/decoder.h"
#include "models/registry.h"
#include "pipeline/pipeline.h"
#include "text/tokenizer.h"
#include "verify/init_case.h"
#include "verify/tolerances.h"
#include "verify/verify_formats.h"

namespace intaglio {
namespace {

namespace fs = std::filesystem;
using Results = std::vector<VerifyResult>;

Expected<std::vector<float>> read_floats(const SafetensorsFile& file, const char* name) {
  const TensorEntry* entry = file.find(name);
  if (entry == nullptr || !is_float(entry->view.dtype)) {
    return make_error(ErrorCode::kBadFormat, "{} has no float tensor '{}'", file.path().string(),
                      name);
  }
  return read_floats(*entry);
}

Expected<Shape> read_shape(const SafetensorsFile& file, const char* name, int rank) {
  const TensorEntry* entry = file.find(name);
  if (entry == nullptr || entry->view.shape.rank != rank) {
    return make_error(ErrorCode::kBadFormat, "{} has no tensor '{}' of {} dimensions",
                      file.path().string(), name, rank);
  }
  return entry->view.shape;
}

// The case's parameters: a JSON object in the metadata under "note".
Expected<JsonConfig> read_note(const SafetensorsFile& file) {
  const auto note = file.metadata().find("note");
  if (note == file.metadata().end())
    return make_error(ErrorCode::kBadFormat, "{} has no 'note' in its metadata",
                      file.path().string());
  return JsonConfig::parse(note->second, file.path().string() + " note");
}

VerifyResult judge(std::string stage, std::string name, double error, double tolerance) {
  return {std::move(stage),
          std::move(name),
          error,
          tolerance,
          error <= tolerance ? Verdict::kPass : Verdict::kFail,
          {}};
}

class Verifier {
 public:
  Verifier(fs::path folder, const VerifyOptions& options,
           const std::function<void(const VerifyResult&)>& report)
      : folder_(std::move(folder)),
        options_(options),
        report_(report),
        tolerances_(tolerances_for(options.selection.precision)) {}

  Expected<Results> run() {
    const fs::path cases = folder_ / "cases";
    if (!fs::is_directory(cases))
      return make_error(ErrorCode::kNotFound, "{}: no such folder; expected test cases there",
                        cases.string());
    INTAGLIO_ASSIGN(checkpoint_, find_checkpoint());
    INTAGLIO_ASSIGN(const DeviceContext device, open_device(options_.gpu, options_.threads));
    INTAGLIO_TRY(options_.selection.check_device(device.context));
    std::vector<fs::path> files;
    for (const fs::directory_entry& entry : fs::directory_iterator(cases)) {
      if (entry.is_regular_file()) files.push_back(entry.path());
    }
    std::sort(files.begin(), files.end());
    for (const fs::path& file : files) {
      run_file(file);
      if (cancelled()) return make_error(ErrorCode::kCancelled, "cancelled");
    }
    if (results_.empty())
      return make_error(ErrorCode::kNotFound, "{}: no test case in it", cases.string());
    return std::move(results_);
  }

 private:
  bool cancelled() const { return options_.cancel != nullptr && *options_.cancel; }

  // `folder`/tiny, else `folder` itself, else the one subfolder with a model_index.json.
  Expected<fs::path> find_checkpoint() const {
    for (const fs::path& candidate : {folder_ / "tiny", folder_}) {
      if (fs::exists(candidate / "model_index.json")) return candidate;
    }
    std::vector<fs::path> found;
    for (const fs::directory_entry& entry : fs::directory_iterator(folder_)) {
      if (entry.is_directory() && fs::exists(entry.path() / "model_index.json"))
        found.push_back(entry.path());
    }
    if (found.size() == 1) return found.front();
    return make_error(
        ErrorCode::kNotFound,
        "{}: {} checkpoints found; expected one folder with a model_index.json, e.g. 'tiny'",
        folder_.string(), found.size());
  }

  void add(VerifyResult result) {
    if (report_) report_(result);
    results_.push_back(std::move(result));
  }

  // What a case computed, for whoever asked for it.
  Status keep(const std::string& stem, const char* tensor, const std::vector<float>& values) {
    if (options_.tensors_out.empty()) return {};
    return write_file_atomic(
        options_.tensors_out / fmt::format("{}.{}.f32", stem, tensor),
        {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)});
  }

  void run_file(const fs::path& file) {
    const std::string stem = file.stem().string();
    struct Stage {
      const char* prefix;
      const char* name;
      Status (Verifier::*run)(const fs::path&, const std::string&);
    };
    static constexpr Stage kStages[] = {
        {"tokenizer", "tokenizer", &Verifier::run_tokenizer},
        {"text_features_", "text_features", &Verifier::run_text},
        {"schedule", "schedule", &Verifier::run_schedule},
        {"transformer_", "transformer", &Verifier::run_transformer},
        {"vae_decode_", "vae_decode", &Verifier::run_vae_decode},
        {"vae_encode_", "vae_encode", &Verifier::run_vae_encode},
        {"pipeline_", "pipeline", &Verifier::run_pipeline},
    };
    for (const Stage& stage : kStages) {
      if (!stem.starts_with(stage.prefix)) continue;
      if (const Status status = (this->*stage.run)(file, stem); !status && !cancelled()) {
        add({stage.name, stem, std::numeric_limits<double>::infinity(), 0.0, Verdict::kFail,
             status.error().message});
      }
      return;
    }
    add({"other", stem, 0.0, 0.0, Verdict::kSkipped, "no stage of the pipeline has this name"});
  }

  ModelPaths paths() const {
    ModelPaths paths = options_.parts;
    paths.folder = checkpoint_;
    return paths;
  }

  Expected<ModelFiles> files() const {
    INTAGLIO_ASSIGN(const JsonConfig index, JsonConfig::open(checkpoint_ / "model_index.json"));
    return find_model_files(paths(), index);
  }

  Expected<const Model*> model() {
    if (!model_) {
      INTAGLIO_ASSIGN(model_, open_model(paths()));
    }
    return model_.get();
  }

  Expected<Pipeline*> pipeline() {
    if (!pipeline_) {
      INTAGLIO_TRY(model());
      INTAGLIO_ASSIGN(pipeline_, Pipeline::open(model_, {.selection = options_.selection,
                                                         .gpu = options_.gpu,
                                                         .threads = options_.threads}));
    }
    return pipeline_.get();
  }

  Status run_tokenizer(const fs::path& file, const std::string& stem) {
    INTAGLIO_ASSIGN(const std::string text, read_file(file));
    INTAGLIO_ASSIGN(const nlohmann::json cases, parse_json(text, file.string()));
    INTAGLIO_ASSIGN(const ModelFiles files, this->files());
    INTAGLIO_ASSIGN(const Tokenizer tokenizer, Tokenizer::open(files.tokenizer));
    int64_t wrong = 0;
    std::string detail;
    for (const nlohmann::json& item : cases) {
      if (!item.is_object() || !item.contains("text") || !item.contains("ids") ||
          !item["text"].is_string() || !item["ids"].is_array()) {
        return make_error(ErrorCode::kBadFormat, "{}: expected a list of {{\"text\", \"ids\"}}",
                          file.string());
      }
      const auto ids = tokenizer.encode(item["text"].get<std::string>());
      if (ids && nlohmann::json(*ids) == item["ids"]) continue;
      ++wrong;
      detail = fmt::format("first wrong text: {}", item["text"].dump());
    }
    VerifyResult result = judge("tokenizer", fmt::format("{} ({} texts)", stem, cases.size()),
                                static_cast<double>(wrong), 0.0);
    result.detail = detail;
    add(std::move(result));
    return {};
  }

  Status run_text(const fs::path& path, const std::string& stem) {
    INTAGLIO_ASSIGN(const auto file, SafetensorsFile::open(path));
    INTAGLIO_ASSIGN(const JsonConfig note, read_note(*file));
    INTAGLIO_ASSIGN(const std::string prompt, note.string_or("prompt", ""));
    INTAGLIO_ASSIGN(const std::vector<float> expected, read_floats(*file, "features"));
    INTAGLIO_ASSIGN(Pipeline* const model, pipeline());
    std::optional<int64_t> most_tokens;
    if (note.contains("max_sequence_length")) {
      INTAGLIO_ASSIGN(most_tokens, note.integer("max_sequence_length", 1, 1 << 20));
    }
    std::vector<int32_t> ids;
    INTAGLIO_ASSIGN(std::vector<float> features, model->encode_text(prompt, most_tokens, &ids));
    // Of rows that the transformer does not read, at either end, published code makes none.
    INTAGLIO_ASSIGN(const int64_t dropped,
                    note.integer_or("dropped", 0, 0, static_cast<int64_t>(ids.size())));
    const size_t width = ids.empty() ? 0 : features.size() / ids.size();
    features.erase(features.begin(),
                   features.begin() + dropped * static_cast<std::ptrdiff_t>(width));
    if (dropped > 0) features.resize(std::min(features.size(), expected.size()));
    INTAGLIO_TRY(keep(stem, "features", features));
    const TensorEntry* entry = file->find("ids");
    if (entry != nullptr && entry->view.dtype == DType::kI64) {
      std::vector<int64_t> wanted(static_cast<size_t>(entry->view.shape.count()));
      INTAGLIO_TRY(read_tensor_bytes(*entry, 0, std::as_writable_bytes(std::span(wanted))));
      std::replace(ids.begin(), ids.end(), qwen3::kPadding, model_->text_config().padding);
      if (!std::equal(ids.begin(), ids.end(), wanted.begin(), wanted.end())) {
        return make_error(ErrorCode::kShapeMismatch, "token ids differ: {} found, {} expected",
                          ids.size(), wanted.size());
      }
    }
    add(judge("text_features", stem, relative_error(features, expected),
              tolerances_.text_features));
    return {};
  }

  // Settings of a case: of the note's "tensors", else of its name, "mu<mu>_std<std>".
  static Expected<JsonConfig> schedule_settings(const SafetensorsFile& file,
                                                const std::string& tensor,
                                                const std::string& variant) {
    if (const Expected<JsonConfig> note = read_note(file); note && note->contains("tensors")) {
      INTAGLIO_ASSIGN(const JsonConfig tensors, note->object("tensors"));
      return tensors.object(tensor);
    }
    static const std::regex kNormal(R"(mu(-?\d{1,4}(?:\.\d{1,9})?)_std(\d{1,4}(?:\.\d{1,9})?))");
    std::smatch match;
    if (!std::regex_match(variant, match, kNormal))
      return make_error(ErrorCode::kBadFormat,
                        "tensor '{}'; expected sigmas_<H>x<W>_n<steps>_mu<mu>_std<std>, or a note "
                        "with its settings",
                        tensor);
    return JsonConfig::parse(
        fmt::format(R"({{"mu": {}, "std": {}}})", std::stod(match[1]), std::stod(match[2])),
        tensor);
  }

  Status run_schedule(const fs::path& path, const std::string& stem) {
    INTAGLIO_ASSIGN(const auto file, SafetensorsFile::open(path));
    INTAGLIO_ASSIGN(const Model* const model, this->model());
    static const std::regex kName(R"(sigmas_(\d{1,7})x(\d{1,7})_n(\d{1,5})_(.*))");
    for (const TensorEntry& entry : file->tensors()) {
      std::smatch match;
      if (!std::regex_match(entry.name, match, kName)) {
        return make_error(ErrorCode::kBadFormat,
                          "tensor '{}'; expected sigmas_<H>x<W>_n<steps>_<variant>", entry.name);
      }
      INTAGLIO_ASSIGN(const std::vector<float> expected, read_floats(*file, entry.name.c_str()));
      INTAGLIO_ASSIGN(const JsonConfig settings,
                      schedule_settings(*file, entry.name, match[4].str()));
      PictureRequest request;
      request.height = std::stoll(match[1]);
      request.width = std::stoll(match[2]);
      request.steps = std::stoll(match[3]);
      INTAGLIO_ASSIGN(const std::vector<float> sigmas, model->sigmas(request, settings));
      double worst =
          sigmas.size() == expected.size() ? 0.0 : std::numeric_limits<double>::infinity();
      for (size_t i = 0; i < std::min(sigmas.size(), expected.size()); ++i) {
        worst = std::max(
            worst, std::abs(static_cast<double>(sigmas[i]) - static_cast<double>(expected[i])));
      }
      add(judge("schedule", stem + " " + entry.name, worst, tolerances_.schedule));
    }
    return {};
  }

  Expected<std::unique_ptr<Transformer>> load_transformer(const Context& context,
                                                          const PartFiles& part) {
    INTAGLIO_ASSIGN(const Model* const model, this->model());
    INTAGLIO_ASSIGN(const JsonConfig config, JsonConfig::open(part.config));
    INTAGLIO_ASSIGN(std::unique_ptr<Transformer> transformer,
                    model->transformer_of(0, config, {.selection = options_.selection}));
    INTAGLIO_ASSIGN(std::shared_ptr<const Checkpoint> checkpoint, Checkpoint::open(part.weights));
    INTAGLIO_ASSIGN(const std::shared_ptr<CheckpointSource> source,
                    transformer->open_source(std::move(checkpoint)));
    INTAGLIO_TRY(transformer->load(context, *source));
    return transformer;
  }

  // transformer_<which>_<i>: "small" is the checkpoint's own first transformer, any other name the
  // folder <which>_transformer.
  Status run_transformer(const fs::path& path, const std::string& stem) {
    INTAGLIO_ASSIGN(const auto file, SafetensorsFile::open(path));
    INTAGLIO_ASSIGN(const JsonConfig note, read_note(*file));
    INTAGLIO_ASSIGN(const int64_t grid_h, note.integer("grid_h", 1, 1 << 16));
    INTAGLIO_ASSIGN(const int64_t grid_w, note.integer("grid_w", 1, 1 << 16));
    INTAGLIO_ASSIGN(const std::vector<float> latents, read_floats(*file, "latents"));
    INTAGLIO_ASSIGN(const std::vector<float> text, read_floats(*file, "text_features"));
    INTAGLIO_ASSIGN(const std::vector<float> time, read_floats(*file, "timestep"));
    INTAGLIO_ASSIGN(const std::vector<float> expected, read_floats(*file, "velocity"));
    INTAGLIO_ASSIGN(const Shape text_shape, read_shape(*file, "text_features", 2));
    const std::string which = stem.substr(12, stem.rfind('_') - 12);
    PartFiles part = PartFiles::in(folder_ / (which + "_transformer"));
    if (which == "small") {
      INTAGLIO_ASSIGN(const ModelFiles files, this->files());
      part = files.transformer;
    }

    INTAGLIO_ASSIGN(DeviceContext device, open_device(options_.gpu, options_.threads));
    Context& context = device.context;
    context.cancel = options_.cancel;
    INTAGLIO_ASSIGN(const std::unique_ptr<Transformer> model, load_transformer(context, part));
    if (static_cast<int64_t>(latents.size()) != grid_h * grid_w * model->channels() ||
        text_shape[1] != model->text_dim() || time.size() != 1) {
      return make_error(ErrorCode::kShapeMismatch,
                        "latents of {} values, text of {}; expected {} x {} tokens x {} channels, "
                        "text of width {}, one timestep",
                        latents.size(), to_string(text_shape), grid_h, grid_w, model->channels(),
                        model->text_dim());
    }
    const PassSize size{.text_tokens = text_shape[0], .grid_h = grid_h, .grid_w = grid_w};
    INTAGLIO_ASSIGN(AlignedBuffer block, allocate(context, model->scratch_bytes(context, size, 1)));
    Arena arena(std::move(block));
    context.scratch = &arena;
    INTAGLIO_ASSIGN(const AlignedBuffer features, upload(context, text));
    INTAGLIO_ASSIGN(const AlignedBuffer x, upload(context, latents));
    INTAGLIO_ASSIGN(AlignedBuffer v, allocate(context, x.size()));
    TransformerSession session;
    INTAGLIO_TRY(model->prepare(context,
                                {.tokens = size.text_tokens, .features = features.as<float>()},
                                grid_h, grid_w, time, session));
    INTAGLIO_TRY(model->select_step(context, session, 0));
    INTAGLIO_TRY(model->forward(context, session, x.as<float>(), v.as<float>()));
    std::vector<float> velocity(latents.size());
    INTAGLIO_TRY(copy_out(context, velocity.data(), v.data(), v.size()));
    INTAGLIO_TRY(keep(stem, "velocity", velocity));
    add(judge("transformer", stem + " velocity", relative_error(velocity, expected),
              tolerances_.velocity));
    return {};
  }

  Status run_vae_decode(const fs::path& path, const std::string& stem) {
    INTAGLIO_ASSIGN(const auto file, SafetensorsFile::open(path));
    INTAGLIO_ASSIGN(const Shape shape, read_shape(*file, "latent", 3));
    INTAGLIO_ASSIGN(const std::vector<float> latent, read_floats(*file, "latent"));
    INTAGLIO_ASSIGN(const std::vector<float> expected, read_floats(*file, "image"));
    INTAGLIO_ASSIGN(const Model* const model, this->model());
    INTAGLIO_ASSIGN(DeviceContext device, open_device(options_.gpu, options_.threads));
    Context& context = device.context;
    context.cancel = options_.cancel;
    INTAGLIO_ASSIGN(
        const autoencoder::Decoder vae,
        model->load_vae(context, autoencoder::Decoder::compute_dtype(context, options_.selection)));
    if (shape[0] != vae.config().latent_channels) {
      return make_error(ErrorCode::kShapeMismatch, "latent of {}; expected {} channels",
                        to_string(shape), vae.config().latent_channels);
    }
    INTAGLIO_ASSIGN(AlignedBuffer block,
                    allocate(context, vae.scratch_bytes(context, shape[1], shape[2])));
    Arena arena(std::move(block));
    context.scratch = &arena;
    const int64_t scale = vae.config().scale_factor();
    std::vector<float> image(static_cast<size_t>(3 * shape[1] * shape[2] * scale * scale));
    INTAGLIO_TRY(vae.decode(context, latent.data(), shape[1], shape[2], image.data(), {}));
    INTAGLIO_TRY(keep(stem, "image", image));
    add(judge("vae_decode", stem, relative_error(image, expected), tolerances_.vae));
    return {};
  }

  Status run_vae_encode(const fs::path& path, const std::string& stem) {
    INTAGLIO_ASSIGN(const auto file, SafetensorsFile::open(path));
    INTAGLIO_ASSIGN(const Shape shape, read_shape(*file, "latent", 3));
    INTAGLIO_ASSIGN(const std::vector<float> image, read_floats(*file, "image"));
    INTAGLIO_ASSIGN(const std::vector<float> expected, read_floats(*file, "latent"));
    INTAGLIO_ASSIGN(const std::vector<float> normalized, read_floats(*file, "latents"));
    INTAGLIO_ASSIGN(const Model* const model, this->model());
    INTAGLIO_ASSIGN(DeviceContext device, open_device(options_.gpu, options_.threads));
    Context& context = device.context;
    context.cancel = options_.cancel;
    INTAGLIO_ASSIGN(const autoencoder::Encoder vae,
                    model->load_encoder(
                        context, autoencoder::Decoder::compute_dtype(context, options_.selection)));
    const int64_t scale = vae.config().scale_factor();
    const int64_t pixels = shape[1] * shape[2] * scale * scale;
    if (shape[0] != vae.config().latent_channels || shape[1] % 2 != 0 || shape[2] % 2 != 0 ||
        static_cast<int64_t>(image.size()) != 3 * pixels || normalized.size() != expected.size()) {
      return make_error(ErrorCode::kShapeMismatch,
                        "latent of {}, image of {} values; expected {} channels, even sides and a "
                        "picture {} times as large",
                        to_string(shape), image.size(), vae.config().latent_channels, scale);
    }
    INTAGLIO_ASSIGN(AlignedBuffer block,
                    allocate(context, vae.scratch_bytes(context, shape[1], shape[2])));
    Arena arena(std::move(block));
    context.scratch = &arena;
    std::vector<float> latent(expected.size()), latents(expected.size());
    INTAGLIO_TRY(vae.encode(context, image.data(), shape[1], shape[2], latent.data(), {}));
    INTAGLIO_TRY(vae.pack_and_normalize(latent.data(), shape[1] / 2, shape[2] / 2, latents.data()));
    INTAGLIO_TRY(keep(stem, "latent", latent));
    add(judge("vae_encode", stem, relative_error(latent, expected), tolerances_.vae));
    add(judge("vae_encode", stem + " normalized", relative_error(latents, normalized),
              tolerances_.vae));
    return {};
  }

  Expected<std::vector<float>> read_guidance(const JsonConfig& note, int64_t steps) {
    INTAGLIO_ASSIGN(const Model* const model, this->model());
    const ModelInfo& info = model->info();
    // Published pipelines pass over the guidance of a model that has none, and of some where no
    // negative prompt is given.
    const bool unasked = !note.contains("negative_prompt") && !info.guides_unasked;
    if (!info.unguided_reason.empty() || unasked)
      return guidance_schedule({info.no_guidance}, steps);
    std::vector<float> guidance;
    if (note.contains("guidance_schedule") && note.json()["guidance_schedule"].is_array()) {
      for (const nlohmann::json& g : note.json()["guidance_schedule"])
        guidance.push_back(g.is_number() ? g.get<float>() : NAN);
    } else if (note.contains("guidance_scale")) {
      INTAGLIO_ASSIGN(const double g, note.number("guidance_scale"));
      guidance.push_back(static_cast<float>(g));
    } else {
      guidance = info.default_guidance.of_steps(steps);
    }
    return guidance_schedule(guidance, steps);
  }

  Status run_pipeline(const fs::path& path, const std::string& stem) {
    INTAGLIO_ASSIGN(const auto file, SafetensorsFile::open(path));
    INTAGLIO_ASSIGN(const JsonConfig note, read_note(*file));
    PictureRequest request;
    INTAGLIO_ASSIGN(request.prompt, note.string_or("prompt", ""));
    INTAGLIO_ASSIGN(request.width, note.integer("width", 1, 1 << 20));
    INTAGLIO_ASSIGN(request.height, note.integer("height", 1, 1 << 20));
    INTAGLIO_ASSIGN(request.steps, note.integer("steps", 1, 10000));
    INTAGLIO_ASSIGN(request.guidance, read_guidance(note, request.steps));
    INTAGLIO_ASSIGN(request.mu, note.number_or("mu", request.mu));
    INTAGLIO_ASSIGN(request.std, note.number_or("std", request.std));
    if (note.contains("negative_prompt")) {  // null counts as absent
      INTAGLIO_ASSIGN(request.negative_prompt, note.string_or("negative_prompt", ""));
    }
    if (note.contains("max_sequence_length")) {
      INTAGLIO_ASSIGN(request.max_sequence_length, note.integer("max_sequence_length", 1, 1 << 20));
    }
    if (note.contains("cfg_normalization") && note.json()["cfg_normalization"].is_boolean()) {
      INTAGLIO_ASSIGN(const bool normalized, note.boolean_or("cfg_normalization", false));
      request.cfg_normalization = normalized ? 1.0 : 0.0;
    } else {
      INTAGLIO_ASSIGN(request.cfg_normalization, note.number_or("cfg_normalization", 0.0));
    }
    INTAGLIO_ASSIGN(request.cfg_truncation,
                    note.number_or("cfg_truncation", request.cfg_truncation));
    INTAGLIO_ASSIGN(request.noise, read_floats(*file, "noise"));
    INTAGLIO_ASSIGN(request.init, read_init_picture(*file, note));
    INTAGLIO_ASSIGN(const std::vector<float> all_latents, read_floats(*file, "latents"));
    INTAGLIO_ASSIGN(const std::vector<float> image, read_floats(*file, "image"));
    INTAGLIO_ASSIGN(Pipeline* const model, pipeline());
    INTAGLIO_ASSIGN(const Picture picture, model->generate(request, {}, options_.cancel));
    INTAGLIO_TRY(keep(stem, "latents", picture.latents));
    INTAGLIO_TRY(keep(stem, "image", picture.planar));
    // The file holds the latents after every step; the last ones carry all errors.
    const size_t count = picture.latents.size();
    const std::vector<float> last(
        all_latents.end() - static_cast<std::ptrdiff_t>(std::min(count, all_latents.size())),
        all_latents.end());
    add(judge("pipeline", stem + " latents", relative_error(picture.latents, last),
              tolerances_.latents));
    add(judge("pipeline", stem + " image", relative_error(picture.planar, image),
              tolerances_.image));
    return {};
  }

  fs::path folder_;
  VerifyOptions options_;
  std::function<void(const VerifyResult&)> report_;
  Tolerances tolerances_;
  fs::path checkpoint_;
  std::shared_ptr<const Model> model_;
  std::unique_ptr<Pipeline> pipeline_;
  Results results_;
};

}  // namespace

Expected<std::vector<VerifyResult>> verify_directory(
    const std::filesystem::path& folder, const VerifyOptions& options,
    const std::function<void(const VerifyResult&)>& report) {
  if (has_format_cases(folder)) return verify_formats(folder, options, report);
  return Verifier(folder, options, report).run();
}

}  // namespace intaglio
