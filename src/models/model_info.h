// What a model says about itself.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "core/status.h"
#include "io/json_config.h"
#include "models/presets.h"
#include "models/step_mask.h"

namespace intaglio {

inline constexpr int64_t kMaxSide = 1 << 20;  // pixels
inline constexpr int64_t kMaxSteps = 1000;

// A scale for all steps but the last ones.
struct DefaultGuidance {
  float scale = 1.0f;
  float last_scale = 1.0f;
  int64_t last_steps = 0;

  std::vector<float> of_steps(int64_t steps) const;
};

struct ModelInfo {
  std::string name;              // of the folder, or "synthetic:NAME"
  std::filesystem::path folder;  // empty without one
  // Parts from elsewhere than the folder: name and place.
  std::vector<std::pair<std::string, std::filesystem::path>> other_parts;

  // Schedules.
  int64_t default_width = 1024, default_height = 1024;
  bool only_default_size = false;  // its makers say that it draws pictures of no other size
  int64_t default_steps = 1;
  DefaultGuidance default_guidance;
  float no_guidance = 1.0f;  // the scale at which nothing but the first pass counts
  // What its passes are, in words.
  std::string branches;
  // Why it cannot be guided at all; empty: it can.
  std::string unguided_reason;
  // Whether its files have what encodes a picture, for one to begin from.
  bool takes_init_picture = false;
  // Why it takes no negative prompt; empty: it takes one.
  std::string negative_prompt_refusal;
  // Whether published code guides where no negative prompt is given; else that draws as without
  // guidance, and this engine with one of its own.
  bool guides_unasked = true;
  // Whether noise levels are those of a normal distribution of log-SNR, with a mean and a
  // deviation.
  bool schedule_is_normal = false;
  double default_mu = 0.0, default_std = 1.5;
  std::vector<Preset> presets;
  bool presets_by_steps = true;  // whether their number of steps alone asks for one
  double shift = 1.0;            // of the scheduler
  std::vector<StepMask> masks;   // of kStepMaskFile

  // Sizes.
  int64_t pixels_per_token = 16;  // sides of a picture must be multiples of this
  int64_t latent_channels = 0;    // of a token

  // Settings that are passed over though they may change pictures, a line each.
  std::vector<std::string> warnings;
};

// What the makers of a model say of it in model_index.json, whose contents `index` is: the object
// "intaglio" (default_steps, default_guidance, default_mu, default_std, default_size,
// only_default_size) and "presets", over what `info` says.
Status read_own_defaults(const JsonConfig& index, ModelInfo& info);

// One line where a picture of width x height pixels, whose first `half_steps` steps run at half of
// that, is of sizes that the model's makers say it does not draw; else empty. model: as `inspect`
// takes it.
std::string size_warning(const ModelInfo& info, std::string_view model, int64_t width,
                         int64_t height, int64_t half_steps);

// The last part of a folder's name.
Expected<std::string> model_name(const std::filesystem::path& folder);

}  // namespace intaglio
