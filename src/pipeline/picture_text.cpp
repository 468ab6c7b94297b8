#include "pipeline/picture_text.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "core/escape.h"

namespace intaglio {
namespace {

// "7" if all are equal, else one a step: "7,7,3".
std::string plain_guidance(const std::vector<float>& guidance) {
  const bool equal =
      std::all_of(guidance.begin(), guidance.end(), [&](float g) { return g == guidance.front(); });
  if (!guidance.empty() && equal) return fmt::format("{}", guidance.front());
  return fmt::format("{}", fmt::join(guidance, ","));
}

std::string init_parameters(const InitOrigin& init) {
  return fmt::format(", Denoising strength: {}, Init image hash: {}{}", init.strength,
                     init.image_hash,
                     init.mask_hash.empty() ? "" : ", Mask hash: " + init.mask_hash);
}

}  // namespace

std::vector<std::string> adapter_names(std::span<const AdapterUse> uses) {
  std::vector<std::string> names;
  for (const AdapterUse& use : uses)
    names.push_back(fmt::format("{}:{}", use.file->path().stem().string(), use.strength));
  return names;
}

PngText picture_text(const PictureRequest& request, const Schedule& schedule,
                     const PictureOrigin& origin) {
  const std::string model = escaped(origin.model);  // a folder's name may be any bytes
  const std::string guidance = plain_guidance(request.guidance);
  const std::string software = fmt::format("Intaglio {}", origin.version);
  const std::string seed = request.noise ? "none" : std::to_string(request.seed);
  const float scale = request.guidance.empty() ? 0.0f : request.guidance.front();
  const std::string negative =
      request.negative_prompt ? "\nNegative prompt: " + *request.negative_prompt : "";
  const std::string adapters = escaped(fmt::format("{}", fmt::join(origin.adapters, ", ")));
  const std::string mask = escaped(origin.mask);
  const std::string parameters = fmt::format(
      "{}{}\nSteps: {}, Sampler: Euler, CFG scale: {}, Seed: {}, Size: {}x{}, Model hash: {}, "
      "Model: "
      "{}, Precision: {}, Version: {}{}{}{}{}{}",
      request.prompt, negative, request.steps, scale, seed, request.width, request.height,
      origin.model_hash, model, origin.precision, software,
      adapters.empty() ? "" : fmt::format(", LoRA: \"{}\"", adapters),
      mask.empty() ? "" : fmt::format(", Cache: \"{}\"", mask),
      origin.half_steps == 0 ? "" : fmt::format(", Progressive: {}", origin.half_steps),
      origin.attention.empty() ? "" : fmt::format(", Attention: {}", origin.attention),
      origin.init ? init_parameters(*origin.init) : "");
  PngText text{{"parameters", parameters},
               {"Description", request.prompt},
               {"seed", seed},
               {"steps", std::to_string(request.steps)},
               {"guidance", guidance}};
  if (request.negative_prompt) text.emplace_back("negative_prompt", *request.negative_prompt);
  if (schedule.mu) text.emplace_back("mu", fmt::format("{}", *schedule.mu));
  if (schedule.std) text.emplace_back("std", fmt::format("{}", *schedule.std));
  if (schedule.shift) text.emplace_back("shift", fmt::format("{}", *schedule.shift));
  if (!adapters.empty()) text.emplace_back("lora", adapters);
  if (!mask.empty()) text.emplace_back("cache", mask);
  if (origin.half_steps > 0) text.emplace_back("progressive", std::to_string(origin.half_steps));
  if (origin.init) {
    text.emplace_back("init_image", origin.init->image_hash);
    if (!origin.init->mask_hash.empty()) text.emplace_back("mask", origin.init->mask_hash);
    text.emplace_back("strength", fmt::format("{}", origin.init->strength));
  }
  if (!origin.attention.empty()) text.emplace_back("attention", origin.attention);
  text.emplace_back("precision", std::string(origin.precision));
  text.emplace_back("model", model);
  text.emplace_back("model_hash", origin.model_hash);
  text.emplace_back("Software", software);
  return text;
}

}  // namespace intaglio
