#include "eval/eval_run.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "core/files.h"
#include "core/philox.h"
#include "core/relative_error.h"
#include "eval/eval_picture.h"
#include "eval/image_metrics.h"
#include "eval/step_trace.h"
#include "interrupt.h"
#include "lora_flags.h"
#include "options.h"
#include "pipeline/picture_text.h"
#include "pipeline/pipeline.h"

namespace intaglio::cli {
namespace {

namespace fs = std::filesystem;

struct OpenVariant {
  std::shared_ptr<const Model> model;
  PipelineOptions options;
};

Expected<OpenVariant> open_variant(const Variant& variant, std::optional<int> gpu, int threads) {
  OpenVariant open;
  INTAGLIO_ASSIGN(open.model, open_model(variant.model));
  open.options.gpu = gpu;
  open.options.threads = threads;
  open.options.selection = {.precision = *precision_from_name(variant.precision),
                            .keep_bf16 = variant.keep_bf16};
  INTAGLIO_ASSIGN(open.options.attention, parse_attention(variant.attention));
  for (const std::string& lora : variant.loras) {
    INTAGLIO_ASSIGN(AdapterUse use, open_lora(lora));
    open.options.adapters.push_back(std::move(use));
  }
  INTAGLIO_TRY(open.model->check_keep_bf16(open.options.selection));
  return open;
}

uint64_t file_bytes(const Model& model) {
  uint64_t bytes = 0;
  for (const fs::path& file : model.files()) {
    std::error_code error;
    const uint64_t size = fs::file_size(file, error);
    const std::string end = file.extension().string();
    if (!error && (end == ".safetensors" || end == ".gguf")) bytes += size;
  }
  return bytes;
}

Status write_latents(const fs::path& file, const std::vector<float>& values) {
  return write_file_atomic(
      file, {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)});
}

Expected<std::vector<float>> read_latents(const fs::path& file) {
  INTAGLIO_ASSIGN(const std::string bytes, read_file(file));
  std::vector<float> values(bytes.size() / sizeof(float));
  std::copy_n(bytes.data(), values.size() * sizeof(float), reinterpret_cast<char*>(values.data()));
  return values;
}

class Drawing {
 public:
  Drawing(const EvalRun& run, const std::vector<Record>& records, Progress& progress)
      : run_(run), plan_(run.folder.plan()), progress_(progress) {
    for (const Record& record : records) found_.emplace(record_key(record), record);
  }

  Expected<EvalCounts> run() {
    for (const Variant& variant : run_.variants) INTAGLIO_TRY(draw_variant(variant));
    // Steps of a baseline are none of the source's.
    for (size_t i = 1; i < run_.variants.size(); ++i)
      if (!run_.variants[i].is_baseline) INTAGLIO_TRY(trace(run_.variants[i]));
    return counts_;
  }

 private:
  bool is_source(const Variant& variant) const { return variant.name == source().name; }
  const Variant& source() const { return run_.variants.front(); }
  bool done(std::string_view kind, const Variant& variant, int64_t prompt) const {
    return found_.contains(record_key(kind, variant.name, prompt));
  }
  Status keep(Record record) {
    INTAGLIO_TRY(run_.folder.append(run_.shard, record));
    std::string key = record_key(record);
    found_[std::move(key)] = std::move(record);
    return {};
  }

  // Prompts of the shard, below `count`, without a record.
  std::vector<int64_t> missing(std::string_view kind, const Variant& variant, int64_t count) const {
    std::vector<int64_t> prompts;
    for (int64_t i = 0; i < count; ++i)
      if (run_.shard.has(i) && !done(kind, variant, i)) prompts.push_back(i);
    return prompts;
  }

  // What a later run of the same variant must find alike.
  Status keep_about(const Variant& variant, const OpenVariant& open, const ChosenPicture& first,
                    const std::string& hash, const std::string& device) {
    INTAGLIO_ASSIGN(const double passes, picture_passes(*open.model, first.request));
    Record about{{"kind", "about"},
                 {"variant", variant.name},
                 {"prompt", run_.shard.number},
                 {"model", open.model->info().name},
                 {"model_hash", hash},
                 {"precision", variant.precision},
                 {"schedule", first.schedule.describe()},
                 {"steps", first.schedule.steps},
                 {"passes", passes},
                 {"device", device},
                 {"version", INTAGLIO_VERSION},
                 {"file_bytes", file_bytes(*open.model)}};
    if (variant.cache) about["cache"] = *variant.cache;
    if (variant.progressive) about["progressive"] = *variant.progressive;
    for (int64_t shard = 0; shard < run_.shard.count; ++shard) {
      const auto before = found_.find(record_key("about", variant.name, shard));
      if (before != found_.end() && before->second.value("model_hash", "") != hash)
        return make_error(ErrorCode::kInvalidArgument,
                          "{}: {} was begun with other weights (hash {}, here {}); expected "
                          "another folder or name",
                          run_.folder.path().string(), variant.name,
                          before->second.value("model_hash", ""), hash);
    }
    return keep(std::move(about));
  }

  Status draw_variant(const Variant& variant) {
    const auto all = static_cast<int64_t>(plan_.prompts.size());
    const std::vector<int64_t> prompts = missing("picture", variant, all);
    if (prompts.empty()) return {};
    progress_.phase(variant.name + ": opening");
    INTAGLIO_ASSIGN(const OpenVariant open, open_variant(variant, run_.gpu, run_.threads));
    INTAGLIO_ASSIGN(const std::unique_ptr<Pipeline> pipeline,
                    Pipeline::open(open.model, open.options));
    INTAGLIO_ASSIGN(const std::string hash, pipeline->model_hash(&interrupted));
    INTAGLIO_ASSIGN(const ChosenPicture first,
                    eval_picture(plan_, variant, *open.model, prompts.front()));
    INTAGLIO_TRY(keep_about(variant, open, first, hash, device_name(pipeline->context())));
    int64_t drawn = 0;
    for (const int64_t prompt : prompts) {
      progress_.step(variant.name, drawn++, static_cast<int64_t>(prompts.size()));
      INTAGLIO_ASSIGN(const ChosenPicture chosen,
                      eval_picture(plan_, variant, *open.model, prompt));
      INTAGLIO_ASSIGN(const PicturePlan plan, pipeline->plan(chosen.request));
      INTAGLIO_ASSIGN(const Picture picture, pipeline->generate(plan, {}, &interrupted));
      const PngText text = picture_text(plan.request, chosen.schedule,
                                        {.model = open.model->info().name,
                                         .model_hash = hash,
                                         .precision = variant.precision,
                                         .version = INTAGLIO_VERSION,
                                         .adapters = adapter_names(open.options.adapters),
                                         .mask = plan.mask_name(),
                                         .half_steps = plan.sampling.half_steps});
      INTAGLIO_TRY(write_png(run_.folder.picture(variant.name, prompt), picture.image, text));
      INTAGLIO_ASSIGN(Record record, measured(variant, prompt, picture));
      record["peak_bytes"] = plan.peak_bytes();
      INTAGLIO_TRY(keep(std::move(record)));
      ++counts_.pictures;
    }
    progress_.clear();
    return {};
  }

  Expected<Record> measured(const Variant& variant, int64_t prompt, const Picture& picture) {
    Record record{{"kind", "picture"}, {"variant", variant.name}, {"prompt", prompt}};
    record["denoise_ms"] = picture.phase_ms[static_cast<size_t>(Phase::kDenoise)];
    if (is_source(variant)) {
      INTAGLIO_TRY(write_latents(run_.folder.latents(prompt), picture.latents));
      return record;
    }
    INTAGLIO_ASSIGN(const std::vector<float> latents, read_latents(run_.folder.latents(prompt)));
    if (latents.size() == picture.latents.size())
      record["latents"] = relative_error(picture.latents, latents);
    INTAGLIO_ASSIGN(const auto source, read_png(run_.folder.picture(source_name(), prompt)));
    const RgbImage& image = source.first;
    record["psnr"] = psnr(picture.image, image);
    record["equal"] = picture.image.pixels == image.pixels;
    if (const auto value = ssim(picture.image, image)) record["ssim"] = *value;
    if (const auto value = ms_ssim(picture.image, image)) record["ms_ssim"] = *value;
    return record;
  }
  const std::string& source_name() const { return plan_.variants.front().first; }

  // What both models read and run of the prompts to trace.
  struct Traced {
    OpenVariant open;
    std::vector<PictureRequest> requests;
    std::unique_ptr<PassRunner> runner;
    std::vector<PassRunner::Texts> texts;
  };

  Expected<Traced> load(const Context& context, const Variant& variant,
                        const std::vector<int64_t>& prompts) {
    Traced traced;
    INTAGLIO_ASSIGN(traced.open, open_variant(variant, run_.gpu, run_.threads));
    for (const int64_t prompt : prompts) {
      INTAGLIO_ASSIGN(ChosenPicture chosen,
                      eval_picture(plan_, variant, *traced.open.model, prompt));
      traced.requests.push_back(std::move(chosen.request));
    }
    const PipelineOptions& options = traced.open.options;
    traced.runner = std::make_unique<PassRunner>(context, *traced.open.model,
                                                 TransformerOptions{.selection = options.selection,
                                                                    .attention = options.attention,
                                                                    .adapters = options.adapters});
    INTAGLIO_ASSIGN(traced.texts, traced.runner->load(traced.requests));
    return traced;
  }

  Status trace(const Variant& variant) {
    const std::vector<int64_t> prompts = missing("trace", variant, plan_.traced);
    if (prompts.empty()) return {};
    progress_.phase(variant.name + ": loading beside " + source().name);
    INTAGLIO_ASSIGN(DeviceContext device, open_device(run_.gpu, run_.threads));
    device.context.cancel = &interrupted;
    INTAGLIO_ASSIGN(Traced source, load(device.context, this->source(), prompts));
    INTAGLIO_ASSIGN(Traced candidate, load(device.context, variant, prompts));
    for (size_t i = 0; i < prompts.size(); ++i) {
      progress_.step(variant.name + ": tracing", static_cast<int64_t>(i),
                     static_cast<int64_t>(prompts.size()));
      const PassRunner::Texts& texts = source.texts[i];
      std::vector<float> noise(static_cast<size_t>(texts.grid_h * texts.grid_w *
                                                   source.open.model->info().latent_channels));
      fill_normal(source.requests[i].seed, noise.data(), static_cast<int64_t>(noise.size()));
      auto trace = trace_steps(*source.runner, texts, *candidate.runner, candidate.texts[i], noise);
      Record record{{"kind", "trace"}, {"variant", variant.name}, {"prompt", prompts[i]}};
      if (trace) {
        add_trace(*trace, record);
      } else if (trace.error().code == ErrorCode::kUnsupported) {
        record["reason"] = trace.error().message;
      } else {
        return tl::unexpected<Error>(trace.error());
      }
      INTAGLIO_TRY(keep(std::move(record)));
      ++counts_.traces;
    }
    progress_.clear();
    return {};
  }

  static void add_trace(const StepTrace& trace, Record& record) {
    record["velocity"] = trace.velocity;
    record["drift"] = trace.drift;
    Record linears = Record::array();
    for (const LinearTrace& linear : trace.linears) {
      Record output = Record::array();
      for (const std::optional<double>& error : linear.output)
        output.push_back(error ? Record(*error) : Record(nullptr));
      linears.push_back({{"transformer", linear.transformer},
                         {"names", linear.names},
                         {"output", std::move(output)}});
    }
    record["linears"] = std::move(linears);
  }

  const EvalRun& run_;
  const EvalPlan& plan_;
  Progress& progress_;
  std::map<std::string, Record> found_;  // by record_key
  EvalCounts counts_;
};

}  // namespace

Status check_variants(const EvalPlan& plan, const std::vector<Variant>& variants,
                      std::optional<int> gpu, int threads) {
  INTAGLIO_ASSIGN(const DeviceContext device, open_device(gpu, threads));
  for (const Variant& variant : variants) {
    INTAGLIO_ASSIGN(const OpenVariant open, open_variant(variant, gpu, threads));
    INTAGLIO_TRY(open.options.selection.check_device(device.context));
    INTAGLIO_ASSIGN(const ChosenPicture first, eval_picture(plan, variant, *open.model, 0));
  }
  return {};
}

Expected<EvalCounts> run_eval(const EvalRun& run, Progress& progress) {
  INTAGLIO_ASSIGN(const std::vector<Record> records, run.folder.records());
  return Drawing(run, records, progress).run();
}

}  // namespace intaglio::cli
