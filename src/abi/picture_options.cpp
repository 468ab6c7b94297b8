#include "abi/picture_options.h"

#include <fmt/ranges.h>

#include <cmath>
#include <random>
#include <string>
#include <string_view>

#include "io/content_hash.h"
#include "io/printable.h"
#include "models/find_model.h"
#include "models/registry.h"
#include "pipeline/device.h"

namespace intaglio::abi {
namespace {

constexpr size_t kShown = 60;  // bytes of a wrong value
// Counts beyond these are uninitialised memory.
constexpr uint64_t kMostPatterns = 10000;
constexpr uint64_t kMostAdapters = 10000;
constexpr int32_t kMostThreads = 1024;

Expected<std::string> required_text(const char* what, const char* text) {
  if (text == nullptr)
    return make_error(ErrorCode::kInvalidArgument, "{}: null, expected a text", what);
  return std::string(text);
}

Status find_part(const char* what, const char* name, std::optional<std::filesystem::path>& path) {
  if (name == nullptr) return {};
  INTAGLIO_ASSIGN(path, find_model_part(what, name));
  return {};
}

Expected<std::shared_ptr<const Model>> find_model(const intaglio_model_options& o) {
  INTAGLIO_ASSIGN(const std::string name, required_text("options.model", o.model));
  if (name.starts_with(kSyntheticPrefix)) {
    for (const char* const part :
         {o.transformer, o.unconditional, o.text_encoder, o.vae, o.tokenizer}) {
      if (part != nullptr)
        return make_error(ErrorCode::kInvalidArgument,
                          "options.model {}: takes no parts from elsewhere, all of it is random",
                          printable(name, kShown));
    }
    auto model = synthetic_model(std::string_view(name).substr(kSyntheticPrefix.size()));
    if (!model)
      return make_error(model.error().code, "options.model {}", printable(model.error().message));
    return model;
  }
  ModelPaths paths;
  INTAGLIO_ASSIGN(paths.folder, find_model_folder("options.model", name));
  INTAGLIO_TRY(find_part("options.transformer", o.transformer, paths.transformer));
  paths.without_unconditional =
      o.unconditional != nullptr && std::string_view(o.unconditional) == "none";
  if (!paths.without_unconditional)
    INTAGLIO_TRY(find_part("options.unconditional", o.unconditional, paths.unconditional));
  INTAGLIO_TRY(find_part("options.text_encoder", o.text_encoder, paths.text_encoder));
  INTAGLIO_TRY(find_part("options.vae", o.vae, paths.vae));
  INTAGLIO_TRY(find_part("options.tokenizer", o.tokenizer, paths.tokenizer));
  return open_model(paths);
}

Status read_precision(const char* name, ModelChoice& choice) {
  const std::string_view text = name != nullptr ? name : precision_name(Precision::kInt8);
  choice.automatic_precision = text == "auto";
  const std::optional<Precision> precision = precision_from_name(text);
  choice.options.selection.precision = precision.value_or(Precision::kInt8);
  if (precision || choice.automatic_precision) return {};
  return make_error(ErrorCode::kInvalidArgument,
                    "options.precision: expected auto or one of {}, found \"{}\"",
                    fmt::join(precision_names(), ", "), printable(text, kShown));
}

Status read_patterns(const intaglio_model_options& o, std::vector<std::string>& patterns) {
  if (o.keep_bf16_count == 0) return {};
  if (o.keep_bf16_count > kMostPatterns)
    return make_error(ErrorCode::kInvalidArgument, "options.keep_bf16_count: {}, expected 0 to {}",
                      o.keep_bf16_count, kMostPatterns);
  if (o.keep_bf16 == nullptr)
    return make_error(ErrorCode::kInvalidArgument, "options.keep_bf16: null, expected {} patterns",
                      o.keep_bf16_count);
  for (uint64_t i = 0; i < o.keep_bf16_count; ++i) {
    INTAGLIO_ASSIGN(std::string pattern, required_text("options.keep_bf16", o.keep_bf16[i]));
    patterns.push_back(std::move(pattern));
  }
  return {};
}

Status no_flags_but(const char* what, uint32_t flags, uint32_t known) {
  if ((flags & ~known) == 0) return {};
  return make_error(ErrorCode::kUnsupported, "{}: 0x{:x}, expected none but 0x{:x}", what, flags,
                    known);
}

Expected<ScheduleRequest> read_schedule(const intaglio_picture_options& o) {
  ScheduleRequest request;
  if (o.preset != nullptr) request.preset = o.preset;
  if (o.steps != 0) {
    if (o.steps < 1 || o.steps > kMaxSteps)
      return make_error(ErrorCode::kInvalidArgument, "options.steps: {}, expected 1 to {}", o.steps,
                        kMaxSteps);
    request.steps = o.steps;
  }
  if (o.mu != nullptr) {
    if (!std::isfinite(*o.mu))
      return make_error(ErrorCode::kInvalidArgument, "options.mu: {}, expected a number", *o.mu);
    request.mu = *o.mu;
  }
  if (o.std != nullptr) {
    if (!std::isfinite(*o.std) || *o.std <= 0.0)
      return make_error(ErrorCode::kInvalidArgument, "options.std: {}, expected a positive number",
                        *o.std);
    request.std = *o.std;
  }
  if (o.shift != nullptr) request.shift = *o.shift;
  if (o.guidance_count == 0) return request;
  if (o.guidance_count > static_cast<uint64_t>(kMaxSteps))
    return make_error(ErrorCode::kInvalidArgument, "options.guidance_count: {}, expected 0 to {}",
                      o.guidance_count, kMaxSteps);
  if (o.guidance == nullptr)
    return make_error(ErrorCode::kInvalidArgument, "options.guidance: null, expected {} values",
                      o.guidance_count);
  request.guidance.emplace(o.guidance, o.guidance + o.guidance_count);
  return request;
}

std::string hash_of(const std::vector<uint8_t>& bytes) {
  return hash128_text({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

// Copies the picture that another begins from.
Status read_init(const intaglio_picture_options& o, PictureChoice& choice) {
  if (o.init_pixels == nullptr) {
    if (o.init_width == 0 && o.init_height == 0 && o.init_mask == nullptr && o.strength == 0.0)
      return {};
    return make_error(ErrorCode::kInvalidArgument,
                      "options.init_pixels: null, expected the picture that init_width, "
                      "init_height, init_mask and strength are of");
  }
  constexpr int64_t kMostPixels = int64_t{1} << 26;
  if (o.init_width < 1 || o.init_height < 1 || o.init_width > kMostPixels / o.init_height)
    return make_error(ErrorCode::kInvalidArgument,
                      "options.init_width, options.init_height: {}x{}, expected 1x1 to {} pixels",
                      o.init_width, o.init_height, kMostPixels);
  PictureRequest& request = choice.request;
  if (request.width != o.init_width || request.height != o.init_height)
    return make_error(ErrorCode::kInvalidArgument,
                      "options.init_width, options.init_height: {}x{}, expected the picture's "
                      "width and height, {}x{}",
                      o.init_width, o.init_height, request.width, request.height);
  const int64_t pixels = o.init_width * o.init_height;
  InitPicture& init = request.init.emplace();
  init.image = {.width = o.init_width,
                .height = o.init_height,
                .pixels = {o.init_pixels, o.init_pixels + 3 * pixels}};
  if (o.init_mask != nullptr) init.mask.assign(o.init_mask, o.init_mask + pixels);
  if (o.strength != 0.0) init.strength = o.strength;
  if (!(init.strength > 0.0 && init.strength <= 1.0))
    return make_error(ErrorCode::kInvalidArgument, "options.strength: {}, expected above 0 to 1",
                      o.strength);
  choice.init = InitOrigin{.image_hash = hash_of(init.image.pixels),
                           .mask_hash = init.mask.empty() ? "" : hash_of(init.mask),
                           .strength = init.strength};
  return {};
}

// Which way is faster depends on the picture, whose options come later.
Expected<Parallel> read_parallel(const char* text) {
  constexpr const char* kField = "options.parallel";
  if (text == nullptr) return Parallel::kOff;
  const Expected<Parallel> parallel = parallel_from_name(kField, text);
  if (parallel && *parallel != Parallel::kAuto) return *parallel;
  return make_error(ErrorCode::kInvalidArgument,
                    "{}: expected off, ulysses or cfg+ulysses, found \"{}\"", kField,
                    printable(text, 60));
}

}  // namespace

Expected<std::vector<AdapterUse>> open_adapters(std::string_view what, const char* const* files,
                                                const float* strengths, uint64_t count) {
  std::vector<AdapterUse> uses;
  if (count > kMostAdapters)
    return make_error(ErrorCode::kInvalidArgument, "{}: a count of {}, expected 0 to {}", what,
                      count, kMostAdapters);
  if (count > 0 && files == nullptr)
    return make_error(ErrorCode::kInvalidArgument, "{}: null, expected {} files", what, count);
  for (uint64_t i = 0; i < count; ++i) {
    const std::string where = fmt::format("{}[{}]", what, i);
    const float strength = strengths != nullptr ? strengths[i] : 1.0f;
    if (!std::isfinite(strength))
      return make_error(ErrorCode::kInvalidArgument, "{}: a strength of {}, expected a number",
                        where, strength);
    INTAGLIO_ASSIGN(const std::string path, required_text(where.c_str(), files[i]));
    Expected<std::shared_ptr<const AdapterFile>> file = AdapterFile::open(path);
    if (!file) return make_error(file.error().code, "{}: {}", where, file.error().message);
    uses.push_back({std::move(*file), strength});
  }
  return uses;
}

Expected<ModelChoice> choose_model(const intaglio_model_options& o) {
  ModelChoice choice;
  INTAGLIO_TRY(no_flags_but("options.flags", o.flags, 0));
  if (o.threads < 0 || o.threads > kMostThreads)
    return make_error(ErrorCode::kInvalidArgument, "options.threads: {}, expected 0 to {}",
                      o.threads, kMostThreads);
  INTAGLIO_TRY(read_precision(o.precision, choice));
  INTAGLIO_TRY(read_patterns(o, choice.options.selection.keep_bf16));
  INTAGLIO_ASSIGN(const Parallel parallel, read_parallel(o.parallel));
  INTAGLIO_ASSIGN(
      const DeviceChoice devices,
      devices_from_names("options.device", o.device != nullptr ? o.device : "auto", parallel));
  use_devices(choice.options, devices);
  choice.options.threads = o.threads;
  choice.options.memory_limit = o.memory_limit;
  choice.options.vram_budget = o.vram_budget;
  INTAGLIO_ASSIGN(choice.options.adapters, open_adapters("options.adapters", o.adapters,
                                                         o.adapter_strengths, o.adapter_count));
  INTAGLIO_ASSIGN(choice.model, find_model(o));
  return choice;
}

Expected<PictureChoice> choose_picture(const intaglio_picture_options& o, const ModelInfo& info) {
  PictureChoice choice;
  PictureRequest& request = choice.request;
  INTAGLIO_TRY(no_flags_but("options.flags", o.flags, INTAGLIO_RANDOM_SEED));
  INTAGLIO_TRY(no_flags_but("options.reserved", o.reserved, 0));
  INTAGLIO_ASSIGN(request.prompt, required_text("options.prompt", o.prompt));
  if (request.prompt.find_first_not_of(" \t\r\n") == std::string::npos)
    return make_error(ErrorCode::kInvalidArgument, "options.prompt: blank, expected what to show");
  if (o.negative_prompt != nullptr) {
    if (!info.negative_prompt_refusal.empty())
      return make_error(ErrorCode::kInvalidArgument, "options.negative_prompt: {} takes none: {}",
                        info.name, info.negative_prompt_refusal);
    request.negative_prompt = o.negative_prompt;
  }
  if ((o.width == 0) != (o.height == 0))
    return make_error(ErrorCode::kInvalidArgument,
                      "options.width, options.height: {}x{}, expected both or neither", o.width,
                      o.height);
  const bool own_size = o.init_pixels != nullptr;
  request.width = o.width != 0 ? o.width : own_size ? o.init_width : info.default_width;
  request.height = o.height != 0 ? o.height : own_size ? o.init_height : info.default_height;
  INTAGLIO_TRY(read_init(o, choice));
  INTAGLIO_ASSIGN(const ScheduleRequest schedule, read_schedule(o));
  // Its messages begin with the name of the setting.
  INTAGLIO_ASSIGN(choice.schedule, choose_schedule(info, schedule).map_error([](Error error) {
    return Error{error.code, "options." + error.message};
  }));
  request.steps = choice.schedule.steps;
  request.mu = choice.schedule.mu.value_or(request.mu);
  request.std = choice.schedule.std.value_or(request.std);
  request.shift = choice.schedule.shift;
  request.guidance = choice.schedule.guidance;
  if (o.cache != nullptr) request.cache = o.cache;
  if (o.progressive != nullptr) request.progressive = o.progressive;
  request.seed = (o.flags & INTAGLIO_RANDOM_SEED) != 0 ? std::random_device{}() : o.seed;
  return choice;
}

}  // namespace intaglio::abi
