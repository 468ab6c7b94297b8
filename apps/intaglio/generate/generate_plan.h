// What `intaglio generate` is asked for, and everything of it that can be known before the first
// weight is read.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/status.h"
#include "generate/init_files.h"
#include "lora_flags.h"
#include "model_flags.h"
#include "options.h"
#include "pipeline/pipeline.h"
#include "prompts.h"
#include "run_files.h"

namespace intaglio::cli {

struct GenerateFlags {
  RunFlags run;
  ModelFlags model;
  std::optional<std::string> prompt, prompts;
  PictureSettings settings;  // of all pictures; lines of --prompts may have their own
  InitFlags init;
  std::string noise, latents_out, features_out;
  std::string memory_limit, attention = "auto";
  std::vector<std::string> loras;
  int64_t count = 1;
  std::optional<std::string> vram_budget, packed_cache, devices;
  std::string parallel = "off";
  bool no_overwrite = false, quiet = false;
};

// The picture goes to stdout.
inline constexpr const char* kStdoutPicture = "-";

struct PictureJob {
  PictureRequest request;
  // Of the request but for its seed and what it begins from: pictures of one prompt share it.
  std::shared_ptr<const PicturePlan> plan;
  Schedule schedule;                        // of the request
  std::filesystem::path file;               // or kStdoutPicture
  std::filesystem::path latents, features;  // empty: not asked for
};

struct GeneratePlan {
  std::shared_ptr<const Model> model;
  std::unique_ptr<Pipeline> pipeline;
  Precision precision = Precision::kInt8;
  std::string precision_reason;  // of --precision auto, for people
  std::string parallel_reason;   // of --parallel auto, for people
  std::vector<AdapterUse> adapters;
  std::optional<InitFiles> init;  // what all pictures begin from
  std::vector<PictureJob> jobs;   // in their order
  size_t prompts = 1;
  RunFiles files;
  // Of the largest picture, on each device; of those that share passes, the one that takes most.
  uint64_t peak_bytes = 0, second_peak_bytes = 0, rank_peak_bytes = 0;
};

// Reads prompts, model and noise, checks every setting and output, and plans the memory of every
// picture. Collects every problem, so that a user corrects them all at once.
GeneratePlan make_generate_plan(const GenerateFlags& flags, std::vector<Error>& errors);

}  // namespace intaglio::cli
