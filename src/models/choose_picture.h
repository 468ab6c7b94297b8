// What is asked for becomes what a pipeline draws: the model's own choices where nothing is said.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/status.h"
#include "models/model.h"
#include "models/model_info.h"
#include "models/presets.h"

namespace intaglio {

struct PictureChoices {
  std::string prompt = {};
  std::optional<std::string> negative_prompt = {};
  std::optional<int64_t> width = {}, height = {};  // pixels
  ScheduleRequest schedule = {};
  std::string cache = {};        // PictureRequest::cache
  std::string progressive = {};  // PictureRequest::progressive
  std::optional<InitPicture> init = {};
  uint64_t seed = 0;
};

struct ChosenPicture {
  PictureRequest request;
  Schedule schedule;  // of the request
};

struct WrongSetting {
  std::string setting;  // "size", "negative_prompt", or one of the schedule's
  Error error;          // kInvalidArgument; its message begins with that name
};

// Every setting that this model cannot serve joins `wrong`.
ChosenPicture choose_picture(const ModelInfo& model, const PictureChoices& choices,
                             std::vector<WrongSetting>& wrong);

// The step mask of a picture of `model` whose passes are `sampling`'s: the request's own, else what
// its `cache` asks for; nullopt: every pass is computed. kInvalidArgument, starting with "cache".
Expected<std::optional<StepMask>> choose_mask(const Model& model, const PictureRequest& request,
                                              const Sampling& sampling);

// Whether a step runs a pass that reads the negative prompt, which is a picture's second text.
bool reads_negative_prompt(const Sampling& sampling);
inline constexpr const char* kNegativePromptUnread =
    "negative prompt: not read, as no step that runs is guided";

}  // namespace intaglio
