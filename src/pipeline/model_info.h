// What a model says about itself.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "core/status.h"
#include "io/json_config.h"

namespace intaglio {

inline constexpr int64_t kMaxSide = 1 << 20;  // pixels
inline constexpr int64_t kMaxSteps = 10000;

struct ModelInfo {
  std::string name;              // of the folder, or "synthetic:ideogram4"
  std::filesystem::path folder;  // empty without one
  int64_t default_width = 1024, default_height = 1024;
  int64_t default_steps = 48;
  std::vector<float>
      default_guidance;           // empty: default_guidance(steps); else one value for all steps
  int64_t pixels_per_token = 16;  // sides of a picture must be multiples of this
  int64_t latent_channels = 0;    // of a token
  double shift = 1.0;             // of the scheduler
};

// From model_index.json, whose contents `index` is, and the scheduler's config. Sizes of tokens and latents are the other configs' affair.
Expected<ModelInfo> read_model_info(const std::filesystem::path& folder, const JsonConfig& index);

}  // namespace intaglio
