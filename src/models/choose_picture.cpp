#include "models/choose_picture.h"

#include "models/progressive.h"

namespace intaglio {
namespace {

void note(std::string setting, Error error, std::vector<WrongSetting>& wrong) {
  wrong.push_back({std::move(setting), std::move(error)});
}

}  // namespace

ChosenPicture choose_picture(const ModelInfo& model, const PictureChoices& choices,
                             std::vector<WrongSetting>& wrong) {
  const size_t found_before = wrong.size();
  ChosenPicture chosen;
  PictureRequest& request = chosen.request;
  request.prompt = choices.prompt;
  request.seed = choices.seed;
  request.cache = choices.cache;
  request.progressive = choices.progressive;
  request.init = choices.init;
  request.width = choices.width.value_or(model.default_width);
  request.height = choices.height.value_or(model.default_height);
  const int64_t unit = model.pixels_per_token;
  if (request.width % unit != 0 || request.height % unit != 0)
    note("size",
         make_error(ErrorCode::kInvalidArgument,
                    "size: sides must be multiples of {} pixels, found {}x{}", unit, request.width,
                    request.height)
             .value(),
         wrong);
  Expected<Schedule> schedule = choose_schedule(model, choices.schedule);
  if (schedule) {
    chosen.schedule = std::move(*schedule);
  } else {
    // Its messages begin with the name of the setting.
    const std::string& message = schedule.error().message;
    note(message.substr(0, message.find_first_of(" :")), schedule.error(), wrong);
  }
  request.steps = chosen.schedule.steps;
  request.mu = chosen.schedule.mu.value_or(request.mu);
  request.std = chosen.schedule.std.value_or(request.std);
  request.shift = chosen.schedule.shift;
  request.guidance = chosen.schedule.guidance;
  request.negative_prompt = choices.negative_prompt;
  if (choices.negative_prompt && !model.negative_prompt_refusal.empty())
    note("negative_prompt",
         make_error(ErrorCode::kInvalidArgument, "negative_prompt: {} takes none: {}", model.name,
                    model.negative_prompt_refusal)
             .value(),
         wrong);
  // Of a picture of some other size or steps it would tell nothing.
  if (wrong.size() > found_before) return chosen;
  if (const auto half_steps = choose_half_steps(request, unit); !half_steps)
    note("progressive", half_steps.error(), wrong);
  return chosen;
}

Expected<std::optional<StepMask>> choose_mask(const Model& model, const PictureRequest& request,
                                              const Sampling& sampling) {
  if (request.mask) {
    INTAGLIO_TRY(check_step_mask(*request.mask, sampling));
    return request.mask;
  }
  return choose_step_mask(model.info().masks, sampling, model.cached_blocks(), request.cache);
}

bool reads_negative_prompt(const Sampling& sampling) {
  for (size_t pass = 0; pass < sampling.passes.size(); ++pass)
    if (sampling.passes[pass].text == 1 && !active_steps(sampling, pass).empty()) return true;
  return false;
}

}  // namespace intaglio
