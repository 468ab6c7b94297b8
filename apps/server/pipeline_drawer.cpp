#include "server/pipeline_drawer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "advice/choose_precision.h"
#include "core/log.h"
#include "models/named_model.h"
#include "models/progressive.h"
#include "pipeline/picture_text.h"
#include "server/job_json.h"
#include "server/refusal.h"

namespace intaglio::server {
namespace {

// Of the picture that previews are fitted to first.
constexpr int64_t kLearningSide = 256, kLearningSteps = 8;
constexpr const char* kLearningPrompt =
    "a red strawberry, a yellow banana and a blue fish on a green background";

Expected<PictureChoices> choices_of(const JobRequest& r) {
  PictureChoices choices{.prompt = r.prompt,
                         .negative_prompt = r.negative_prompt,
                         .width = r.width,
                         .height = r.height,
                         .schedule = {.preset = r.preset, .steps = r.steps},
                         .cache = r.cache.value_or(""),
                         .progressive = r.progressive.value_or(""),
                         .seed = r.seed.value_or(0)};
  if (r.guidance) {
    INTAGLIO_ASSIGN(choices.schedule.guidance, parse_guidance("guidance", *r.guidance));
  }
  return choices;
}

std::optional<InitOrigin> origin_of(const JobRequest& r) {
  if (!r.init_image) return std::nullopt;
  return InitOrigin{.image_hash = r.init_image->id,
                    .mask_hash = r.mask ? r.mask->id : "",
                    .strength = r.strength.value_or(InitPicture{}.strength)};
}

// Masks that a picture of their own number of steps takes.
std::vector<ServedMask> masks_of(const Model& model) {
  std::vector<ServedMask> masks;
  for (const StepMask& mask : model.info().masks) {
    const PictureChoices choices{.prompt = "a picture", .schedule = {.steps = mask.steps()}};
    std::vector<WrongSetting> wrong;
    const ChosenPicture chosen = choose_picture(model.info(), choices, wrong);
    const auto sampling = model.sampling(chosen.request);
    if (wrong.empty() && sampling && check_step_mask(mask, *sampling))
      masks.push_back({mask.name, mask.steps(), mask.cost(*sampling, model.cached_blocks())});
  }
  return masks;
}

// Of the model's default picture.
Expected<Precision> fastest_precision(const std::shared_ptr<const Model>& model,
                                      const PipelineOptions& options) {
  std::vector<WrongSetting> wrong;
  ChosenPicture picture = choose_picture(model->info(), {.prompt = "a picture"}, wrong);
  if (!wrong.empty()) return tl::unexpected<Error>(wrong.front().error);
  INTAGLIO_ASSIGN(const ChosenPrecision chosen, choose_precision(model, options, picture.request));
  log(LogLevel::kInfo, "{}: precision {}", model->info().name, OwnLines{chosen.reason});
  return chosen.precision;
}

Expected<std::string> names_of_devices(const PipelineOptions& options) {
  INTAGLIO_ASSIGN(const DeviceContext first, open_device(options.gpu, options.threads));
  std::vector<int> others = options.rank_gpus;
  if (options.second_gpu) others.push_back(*options.second_gpu);
  others.insert(others.end(), options.second_rank_gpus.begin(), options.second_rank_gpus.end());
  std::vector<DeviceContext> opened;
  for (const int gpu : others) {
    INTAGLIO_ASSIGN(DeviceContext other, open_device(gpu, options.threads));
    opened.push_back(std::move(other));
  }
  std::vector<const Context*> contexts;
  for (const DeviceContext& other : opened) contexts.push_back(&other.context);
  return device_names(first.context, contexts);
}

}  // namespace

Expected<std::unique_ptr<Drawer>> PipelineDrawer::open(const ServiceOptions& options) {
  PipelineOptions pipeline;
  INTAGLIO_ASSIGN(const Parallel parallel, parallel_from_name("--parallel", options.parallel));
  INTAGLIO_ASSIGN(const DeviceChoice devices,
                  devices_from_names("--device", options.device, parallel));
  use_devices(pipeline, devices);
  pipeline.threads = options.threads;
  pipeline.memory_limit = options.memory_limit;
  pipeline.vram_budget = options.vram_budget;
  INTAGLIO_ASSIGN(std::string devices_in_words, names_of_devices(pipeline));
  std::unique_ptr<PipelineDrawer> drawer(
      new PipelineDrawer(options, pipeline, std::move(devices_in_words)));
  if (options.models.empty())
    return make_error(ErrorCode::kInvalidArgument, "--model: missing, expected one or more");
  for (const std::string& argument : options.models)
    INTAGLIO_TRY(drawer->know(argument, options.precision));
  return drawer;
}

Status PipelineDrawer::know(const std::string& argument, const std::string& precision) {
  Known known;
  INTAGLIO_ASSIGN(known.model, open_named_model("--model", argument));
  known.name = known.model->info().name;
  if (auto words = read_known_words(known.model->info().folder)) {
    known.words = std::move(*words);
  } else {
    log(LogLevel::kWarning, "{}", OwnLines{words.error().message});
  }
  for (const std::string& warning : known.model->info().warnings)
    log(LogLevel::kWarning, "{}", OwnLines{warning});
  if (find(known.name) >= 0)
    return make_error(ErrorCode::kInvalidArgument,
                      "--model {}: another model is called \"{}\", too", argument, known.name);
  INTAGLIO_TRY(check_rank_gpus(pipeline_options_));
  INTAGLIO_TRY(check_second_gpu(known.model->info(), pipeline_options_));
  if (precision == "auto") {
    INTAGLIO_ASSIGN(known.precision, fastest_precision(known.model, pipeline_options_));
  } else {
    const std::optional<Precision> named = precision_from_name(precision);
    if (!named)
      return make_error(ErrorCode::kInvalidArgument, "--precision: there is no \"{}\"", precision);
    known.precision = *named;
  }
  known.masks = masks_of(*known.model);
  known_.push_back(std::move(known));
  return {};
}

int PipelineDrawer::find(const std::string& model) const {
  for (size_t i = 0; i < known_.size(); ++i)
    if (known_[i].name == model) return static_cast<int>(i);
  return -1;
}

std::vector<ServedModel> PipelineDrawer::models() const {
  std::vector<ServedModel> models;
  for (const Known& known : known_)
    models.push_back({.name = known.name,
                      .info = known.model->info(),
                      .precision = std::string(precision_name(known.precision)),
                      .loaded = loaded_ == static_cast<int>(models.size()),
                      .masks = known.masks});
  return models;
}

Expected<std::vector<AdapterUse>> PipelineDrawer::adapters(const JobRequest& request) const {
  std::vector<AdapterUse> uses;
  for (const JobRequest::Lora& lora : request.loras) {
    if (!std::isfinite(lora.strength))
      return make_error(ErrorCode::kInvalidArgument, "{}: its strength is no number", lora.name);
    INTAGLIO_ASSIGN(const std::filesystem::path path, loras_.file(lora.name));
    INTAGLIO_ASSIGN(std::shared_ptr<const AdapterFile> file, AdapterFile::open(path));
    uses.push_back({std::move(file), lora.strength});
  }
  return uses;
}

Accepted<JobRequest> PipelineDrawer::complete(const JobRequest& request) const {
  const std::string& name = request.model.empty() ? known_.front().name : request.model;
  const int place = find(name);
  if (place < 0) {
    auto refusal =
        refused(Refusal::Reason::kNotFound, message_of("model: there is no \"{}\" here", name));
    refusal.value().parameter = "model";
    return refusal;
  }
  const Known& known = known_[static_cast<size_t>(place)];
  const Model& model = *known.model;
  const Expected<PictureChoices> choices = choices_of(request);
  if (!choices) return invalid("guidance", choices.error().message);
  std::vector<WrongSetting> wrong;
  const ChosenPicture chosen = choose_picture(model.info(), *choices, wrong);
  if (!wrong.empty()) return invalid(wrong.front().setting, wrong.front().error.message);
  const auto uses = adapters(request);
  if (!uses) return invalid("loras", "loras: " + uses.error().message);
  if (!uses->empty()) {
    const auto fit = model.check_adapters(*uses);
    if (!fit) return invalid("loras", "loras: " + fit.error().message);
  }
  const auto texts = model.texts(chosen.request);
  if (!texts) return invalid("prompt", "prompt: " + texts.error().message);
  const auto sampling = model.sampling(chosen.request);
  if (!sampling) return invalid("steps", sampling.error().message);
  if (pipeline_options_.second_gpu && sampling->passes.size() < 2)
    return invalid("guidance",
                   "guidance: expected guided pictures here, as GPUs take a pass of two each");
  const auto mask = choose_mask(model, chosen.request, *sampling);
  if (!mask) return invalid("cache", mask.error().message);
  // choose_picture has refused what it cannot be.
  const int64_t half_steps =
      choose_half_steps(chosen.request, model.info().pixels_per_token).value_or(0);
  JobRequest complete = request;
  complete.model = name;
  complete.width = chosen.request.width;
  complete.height = chosen.request.height;
  complete.steps = chosen.request.steps;
  complete.guidance = guidance_text(chosen.request.guidance);
  complete.warnings.clear();
  if (!request.negative_prompt.value_or("").empty() && !reads_negative_prompt(*sampling))
    complete.warnings.emplace_back(kNegativePromptUnread);
  if (std::string warning =
          size_warning(model.info(), name, chosen.request.width, chosen.request.height, half_steps);
      !warning.empty())
    complete.warnings.push_back(std::move(warning));
  if (known.words) {
    const std::vector<std::string> unknown = unknown_words(*known.words, request.prompt);
    if (!unknown.empty()) complete.warnings.push_back(unknown_words_warning(name, unknown));
  }
  // A preset that something replaces parts of is none by name, but says what the rest is.
  if (!complete.preset && !chosen.schedule.preset.empty()) complete.preset = chosen.schedule.preset;
  return complete;
}

DrawKey PipelineDrawer::key(const JobRequest& request) const {
  DrawKey key{request.model,
              fmt::format("{}x{}", request.width.value_or(0), request.height.value_or(0))};
  for (const JobRequest::Lora& lora : request.loras)
    key.load += fmt::format("/{}:{}", lora.name, lora.strength);
  return key;
}

Status PipelineDrawer::load(int model, const JobRequest& request, const DrawHooks& hooks) {
  const std::string wanted = key(request).load;
  if (pipeline_ != nullptr && load_ == wanted) return {};
  if (hooks.progress) hooks.progress({Phase::kLoadText, 0, 1});
  load_.clear();
  planned_.reset();
  Known& known = known_[static_cast<size_t>(model)];
  INTAGLIO_ASSIGN(uses_, adapters(request));
  if (pipeline_ != nullptr && loaded_ == model) {
    INTAGLIO_TRY(pipeline_->set_adapters(uses_));
  } else {
    loaded_ = -1;
    pipeline_.reset();  // before the next one takes memory
    PipelineOptions options = pipeline_options_;
    options.selection.precision = known.precision;
    options.adapters = uses_;
    INTAGLIO_ASSIGN(pipeline_, Pipeline::open(known.model, options));
    loaded_ = model;
  }
  if (known.hash.empty()) {
    INTAGLIO_ASSIGN(known.hash, pipeline_->model_hash(hooks.cancel));
  }
  load_ = wanted;
  return {};
}

Status PipelineDrawer::plan(const Known& known, const JobRequest& request,
                            const InitPicture* init) {
  std::string text = json_text(request_json(request));
  if (planned_ && planned_->request == text) return {};
  planned_.reset();
  INTAGLIO_ASSIGN(const PictureChoices choices, choices_of(request));
  std::vector<WrongSetting> wrong;
  ChosenPicture chosen = choose_picture(known.model->info(), choices, wrong);
  // Of a job that an earlier process accepted, of a model that was another then.
  if (!wrong.empty()) return tl::unexpected<Error>(wrong.front().error);
  if (init != nullptr) chosen.request.init = *init;
  INTAGLIO_ASSIGN(PicturePlan plan, pipeline_->plan(chosen.request));
  planned_ = Planned{std::move(text), std::move(plan), std::move(chosen.schedule)};
  if (pipeline_->context().gpu != nullptr) device_bytes_ = planned_->plan.peak_bytes();
  return {};
}

// A small picture that nobody sees, once for each model that is asked for previews; those that
// follow add to it.
Status PipelineDrawer::learn_previews(Known& known, const std::atomic<bool>* cancel) {
  if (known.preview.ready()) return {};
  const ModelInfo& info = known.model->info();
  const int64_t side = kLearningSide / info.pixels_per_token * info.pixels_per_token;
  PictureChoices choices{.prompt = kLearningPrompt};
  choices.width = std::min(side, info.default_width);
  choices.height = std::min(side, info.default_height);
  choices.schedule.steps = kLearningSteps;
  std::vector<WrongSetting> wrong;
  const ChosenPicture chosen = choose_picture(info, choices, wrong);
  if (!wrong.empty()) return tl::unexpected<Error>(wrong.front().error);
  INTAGLIO_ASSIGN(const PicturePlan plan, pipeline_->plan(chosen.request));
  INTAGLIO_ASSIGN(const Picture picture, pipeline_->generate(plan, {}, cancel));
  known.preview.learn(picture, plan.grid_h, plan.grid_w);
  planned_.reset();
  return {};
}

// Previews spread over the steps.
StepEstimates PipelineDrawer::estimates(const Known& known, const JobRequest& request,
                                        const DrawHooks& hooks) const {
  StepEstimates estimates;
  const PicturePlan& plan = planned_->plan;
  const int64_t steps = plan.steps();
  const int64_t count = std::min<int64_t>(request.previews, steps - 1);
  for (int64_t i = 1; i <= count; ++i) estimates.after.push_back(i * steps / (count + 1));
  estimates.take = [&](const StepEstimate& estimate) {
    const auto image = known.preview.draw(estimate.latents, plan.grid_h, plan.grid_w);
    if (!image) return;
    const auto png = encode_png(*image, {});
    if (png)
      hooks.preview(estimate.step, std::make_shared<const std::string>(png->begin(), png->end()));
  };
  return estimates;
}

Expected<DrawnPicture> PipelineDrawer::draw(const JobRequest& request, int64_t index,
                                            const DrawHooks& hooks) {
  const int place = find(request.model);
  if (place < 0)
    return make_error(ErrorCode::kNotFound, "the model \"{}\" is not served any more",
                      request.model);
  INTAGLIO_TRY(load(place, request, hooks));
  Known& known = known_[static_cast<size_t>(place)];
  const bool previews = hooks.preview && request.previews > 0;
  if (previews) INTAGLIO_TRY(learn_previews(known, hooks.cancel));
  INTAGLIO_TRY(plan(known, request, hooks.init));
  PicturePlan& plan = planned_->plan;
  plan.request.seed = request.seed.value_or(0) + static_cast<uint64_t>(index);
  INTAGLIO_ASSIGN(
      const Picture picture,
      pipeline_->generate(plan, hooks.progress, hooks.cancel,
                          previews ? estimates(known, request, hooks) : StepEstimates{}));
  if (previews) known.preview.learn(picture, plan.grid_h, plan.grid_w);
  const PngText text = picture_text(plan.request, planned_->schedule,
                                    {.model = known.name,
                                     .model_hash = known.hash,
                                     .precision = precision_name(known.precision),
                                     .version = INTAGLIO_VERSION,
                                     .adapters = adapter_names(uses_),
                                     .mask = plan.mask_name(),
                                     .half_steps = plan.sampling.half_steps,
                                     .init = origin_of(request)});
  DrawnPicture drawn{
      .width = plan.request.width, .height = plan.request.height, .phase_ms = picture.phase_ms};
  INTAGLIO_ASSIGN(drawn.png, encode_png(picture.image, text));
  return drawn;
}

}  // namespace intaglio::server
