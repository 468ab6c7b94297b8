// Pictures of include/intaglio/intaglio.h: models are opened, pictures planned, drawn and written.
#include <algorithm>
#include <chrono>
#include <cstring>

#include "abi/last_error.h"
#include "abi/model_handle.h"
#include "abi/read_struct.h"
#include "pipeline/device.h"
#include "pipeline/picture_text.h"

#define INTAGLIO_TEXT_(x) #x
#define INTAGLIO_TEXT(x) INTAGLIO_TEXT_(x)

namespace intaglio::abi {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::string_view kVersion = INTAGLIO_TEXT(INTAGLIO_VERSION_MAJOR) "." INTAGLIO_TEXT(
    INTAGLIO_VERSION_MINOR) "." INTAGLIO_TEXT(INTAGLIO_VERSION_PATCH);

// Sizes of the first version of each struct. A field added later does not change them.
constexpr uint64_t kModelOptionsSize = 112;
constexpr uint64_t kAdaptersSize = 32;
constexpr uint64_t kPictureOptionsSize = 104;
constexpr uint64_t kPlanSize = 768;
constexpr uint64_t kCallbacksSize = 24;
constexpr uint64_t kPictureInfoSize = 144;
static_assert(sizeof(intaglio_model_options) == kModelOptionsSize + 32);  // adapters, parallel
static_assert(sizeof(intaglio_adapters) == kAdaptersSize);
static_assert(sizeof(intaglio_picture_options) ==
              kPictureOptionsSize + 64);  // and cache, init, progressive, shift
static_assert(sizeof(intaglio_picture_plan) ==
              kPlanSize + 152);  // and cache, its share, run_steps, encode_bytes
static_assert(sizeof(intaglio_callbacks) == kCallbacksSize);
static_assert(sizeof(intaglio_picture_info) == kPictureInfoSize + 8);  // and encode_ms

double since_ms(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

template <size_t kSize>
void put_text(std::string_view text, char (&to)[kSize]) {
  const size_t length = std::min(text.size(), kSize - 1);
  std::memcpy(to, text.data(), length);
  to[length] = '\0';
}

tl::unexpected<Error> null_argument(const char* name, const char* expected) {
  return make_error(ErrorCode::kInvalidArgument, "{}: null, expected {}", name, expected);
}

Status open(const intaglio_model_options* options, intaglio_model** model) {
  if (model == nullptr) return null_argument("model", "a place for the model");
  *model = nullptr;
  intaglio_model_options read{};
  INTAGLIO_TRY(read_struct(options, "options", kModelOptionsSize, read));
  auto opened = std::make_unique<intaglio_model>();
  INTAGLIO_ASSIGN(opened->choice, choose_model(read));
  opened->hash = std::make_shared<ModelHash>(opened->choice.model);
  if (!opened->choice.automatic_precision) {
    INTAGLIO_ASSIGN(opened->pipeline, Pipeline::open(opened->choice.model, opened->choice.options));
  }
  *model = opened.release();
  return {};
}

Status close(intaglio_model* model) {
  if (model == nullptr) return {};
  INTAGLIO_ASSIGN(AtWork work, AtWork::begin(model));
  work.forget();
  delete model;
  return {};
}

Status set_adapters(intaglio_model* model, const intaglio_adapters* adapters) {
  INTAGLIO_ASSIGN(const AtWork work, AtWork::begin(model));
  intaglio_adapters read{};
  INTAGLIO_TRY(read_struct(adapters, "adapters", kAdaptersSize, read));
  INTAGLIO_ASSIGN(std::vector<AdapterUse> uses,
                  open_adapters("adapters.files", read.files, read.strengths, read.count));
  return model->set_adapters(std::move(uses));
}

Expected<PictureChoice> read_choice(const intaglio_model& model,
                                    const intaglio_picture_options* options) {
  intaglio_picture_options read{};
  INTAGLIO_TRY(read_struct(options, "options", kPictureOptionsSize, read));
  return choose_picture(read, model.choice.model->info());
}

intaglio_picture_plan plan_of(const intaglio_model& model, const PictureChoice& choice,
                              const PicturePlan& planned) {
  intaglio_picture_plan plan{};
  plan.width = choice.request.width;
  plan.height = choice.request.height;
  plan.steps = choice.request.steps;
  plan.text_tokens = planned.text_tokens();
  plan.image_tokens = planned.image_tokens();
  plan.peak_bytes = planned.peak_bytes();
  plan.text_bytes = planned.memory.text_phase;
  plan.load_bytes = planned.memory.load_phase;
  plan.prepare_bytes = planned.memory.prepare_phase;
  plan.denoise_bytes = planned.memory.denoise_phase;
  plan.decode_bytes = planned.memory.decode_phase;
  plan.streamed_bytes = planned.streamed_bytes();
  plan.threads = model.pipeline->context().threads;
  put_text(precision_name(model.precision()), plan.precision);
  put_text(model.precision_reason, plan.precision_reason);
  put_text(device_names(model.pipeline->context(), model.pipeline->other_contexts()), plan.device);
  put_text(choice.schedule.describe(), plan.schedule);
  put_text(planned.mask_name(), plan.cache);
  const std::vector<int64_t> blocks = model.choice.model->cached_blocks();
  plan.run_steps = planned.steps();
  plan.encode_bytes = planned.memory.encode_phase;
  plan.computed_share = computed_share(planned.sampling, blocks);
  return plan;
}

Status plan(intaglio_model* model, const intaglio_picture_options* options,
            intaglio_picture_plan* plan) {
  INTAGLIO_ASSIGN(const AtWork work, AtWork::begin(model));
  INTAGLIO_ASSIGN(const PictureChoice choice, read_choice(*model, options));
  INTAGLIO_ASSIGN(const PicturePlan planned, model->plan(choice.request));
  return write_struct(plan_of(*model, choice, planned), "plan", kPlanSize, plan);
}

Status generate(intaglio_model* model, const intaglio_picture_options* options,
                const intaglio_callbacks* callbacks, intaglio_picture** picture) {
  const Clock::time_point start = Clock::now();
  if (picture == nullptr) return null_argument("picture", "a place for the picture");
  *picture = nullptr;
  INTAGLIO_ASSIGN(const AtWork work, AtWork::begin(model));
  intaglio_callbacks calls{};
  if (callbacks != nullptr)
    INTAGLIO_TRY(read_struct(callbacks, "callbacks", kCallbacksSize, calls));
  auto drawn = std::make_unique<intaglio_picture>();
  INTAGLIO_ASSIGN(drawn->choice, read_choice(*model, options));
  INTAGLIO_ASSIGN(const PicturePlan planned, model->plan(drawn->choice.request));
  drawn->choice.request.negative_prompt = planned.request.negative_prompt;
  ProgressCallback progress;
  if (calls.progress != nullptr) {
    progress = [&](const PictureProgress& report) {
      const char* const phase = kPhaseNames[static_cast<size_t>(report.phase)].data();
      if (calls.progress(calls.user, phase, report.done, report.total) != 0) model->cancel = true;
    };
  }
  INTAGLIO_ASSIGN(drawn->picture, model->pipeline->generate(planned, progress, &model->cancel));
  if (model->cancel) return make_error(ErrorCode::kCancelled, "stopped on request");
  drawn->precision = model->precision();
  drawn->adapters = adapter_names(model->choice.options.adapters);
  drawn->mask = planned.mask_name();
  drawn->half_steps = planned.sampling.half_steps;
  drawn->hash = model->hash;
  drawn->total_ms = since_ms(start);
  *picture = drawn.release();
  return {};
}

Status get(const intaglio_picture* picture, intaglio_picture_info* info) {
  if (picture == nullptr) return null_argument("picture", "one of intaglio_generate");
  const Picture& drawn = picture->picture;
  const auto ms = [&](Phase phase) { return drawn.phase_ms[static_cast<size_t>(phase)]; };
  intaglio_picture_info filled{};
  filled.pixels = drawn.image.pixels.data();
  filled.width = drawn.image.width;
  filled.height = drawn.image.height;
  filled.seed = picture->choice.request.seed;
  filled.steps = static_cast<int64_t>(drawn.step_ms.size());
  filled.text_tokens = drawn.text_tokens;
  filled.image_tokens = drawn.image_tokens;
  filled.total_ms = picture->total_ms;
  filled.load_text_ms = ms(Phase::kLoadText);
  filled.text_ms = ms(Phase::kText);
  filled.load_transformers_ms = ms(Phase::kLoadTransformers);
  filled.prepare_ms = ms(Phase::kPrepare);
  filled.denoise_ms = ms(Phase::kDenoise);
  filled.load_vae_ms = ms(Phase::kLoadVae);
  filled.decode_ms = ms(Phase::kDecode);
  filled.finish_ms = ms(Phase::kFinish);
  filled.step_ms = drawn.step_ms.data();
  filled.encode_ms = ms(Phase::kEncode);
  return write_struct(filled, "info", kPictureInfoSize, info);
}

Expected<PngText> text_of(const intaglio_picture& picture) {
  INTAGLIO_ASSIGN(const std::string hash, picture.hash->get());
  return picture_text(picture.choice.request, picture.choice.schedule,
                      {.model = picture.hash->info().name,
                       .model_hash = hash,
                       .precision = precision_name(picture.precision),
                       .version = kVersion,
                       .adapters = picture.adapters,
                       .mask = picture.mask,
                       .half_steps = picture.half_steps,
                       .init = picture.choice.init});
}

Status save_png(const intaglio_picture* picture, const char* path) {
  if (picture == nullptr) return null_argument("picture", "one of intaglio_generate");
  if (path == nullptr) return null_argument("path", "the name of a file");
  INTAGLIO_ASSIGN(const PngText text, text_of(*picture));
  return write_png(path, picture->picture.image, text);
}

Status png(intaglio_picture* picture, const uint8_t** bytes, uint64_t* size) {
  if (picture == nullptr) return null_argument("picture", "one of intaglio_generate");
  if (bytes == nullptr) return null_argument("bytes", "a place for the address");
  if (size == nullptr) return null_argument("size", "a place for the count");
  *bytes = nullptr;
  *size = 0;
  INTAGLIO_ASSIGN(const PngText text, text_of(*picture));
  INTAGLIO_ASSIGN(picture->png, encode_png(picture->picture.image, text));
  *bytes = picture->png.data();
  *size = picture->png.size();
  return {};
}

}  // namespace
}  // namespace intaglio::abi

using intaglio::abi::guarded;

intaglio_status intaglio_model_open(const intaglio_model_options* options, intaglio_model** model) {
  return guarded([&] { return intaglio::abi::open(options, model); });
}

intaglio_status intaglio_model_close(intaglio_model* model) {
  return guarded([&] { return intaglio::abi::close(model); });
}

intaglio_status intaglio_set_adapters(intaglio_model* model, const intaglio_adapters* adapters) {
  return guarded([&] { return intaglio::abi::set_adapters(model, adapters); });
}

intaglio_status intaglio_plan(intaglio_model* model, const intaglio_picture_options* options,
                              intaglio_picture_plan* plan) {
  return guarded([&] { return intaglio::abi::plan(model, options, plan); });
}

intaglio_status intaglio_generate(intaglio_model* model, const intaglio_picture_options* options,
                                  const intaglio_callbacks* callbacks, intaglio_picture** picture) {
  return guarded([&] { return intaglio::abi::generate(model, options, callbacks, picture); });
}

void intaglio_cancel(intaglio_model* model) {
  if (model != nullptr) model->cancel = true;
}

intaglio_status intaglio_picture_get(const intaglio_picture* picture, intaglio_picture_info* info) {
  return guarded([&] { return intaglio::abi::get(picture, info); });
}

intaglio_status intaglio_picture_save_png(const intaglio_picture* picture, const char* path) {
  return guarded([&] { return intaglio::abi::save_png(picture, path); });
}

intaglio_status intaglio_picture_png(intaglio_picture* picture, const uint8_t** bytes,
                                     uint64_t* size) {
  return guarded([&] { return intaglio::abi::png(picture, bytes, size); });
}

void intaglio_picture_free(intaglio_picture* picture) { delete picture; }
