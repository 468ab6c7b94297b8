// What a model says about itself.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "core/status.h"
#include "io/json_config.h"
#include "pipeline/presets.h"

namespace intaglio {

inline constexpr int64_t kMaxSide = 1 << 20;  // pixels
inline constexpr int64_t kMaxSteps = 1000;

struct ModelInfo {
  std::string name;              // of the folder, or "synthetic:ideogram4"
  std::filesystem::path folder;  // empty without one
  // Parts from elsewhere than the folder: name and place.
  std::vector<std::pair<std::string, std::filesystem::path>> other_parts;
  int64_t default_width = 1024, default_height = 1024;
  int64_t default_steps = 48;
  std::vector<float>
      default_guidance;  // empty: default_guidance(steps); else one value for all steps
  double default_mu = 0.0, default_std = 1.5;  // of ScheduleOptions
  std::vector<Preset> presets;
  bool presets_by_steps = true;   // whether their number of steps alone asks for one
  bool has_unconditional = true;  // false: distilled, guidance is 1
  int64_t pixels_per_token = 16;  // sides of a picture must be multiples of this
  int64_t latent_channels = 0;    // of a token
  double shift = 1.0;             // of the scheduler
  std::vector<std::string>
      warnings;  // settings that are passed over though they may change pictures, a line each
};

// From model_index.json, whose contents `index` is, and the scheduler's config. Sizes of tokens and latents are the other configs' affair.
Expected<ModelInfo> read_model_info(const std::filesystem::path& folder, const JsonConfig& index,
                                    const std::filesystem::path& scheduler, bool has_unconditional);

}  // namespace intaglio
