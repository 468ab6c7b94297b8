#include "models/autoencoder/module_names.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "models/autoencoder/original_names.h"

namespace intaglio::autoencoder {

ModuleNames::ModuleNames(const DecoderConfig& config) {
  if (config.family == DecoderFamily::kKl) {
    const std::span<const ModuleAlias> original = original_names(config.widths.size());
    aliases_.assign(original.begin(), original.end());
    return;
  }
  add("post_quant_conv", "conv2");
  add("quant_conv", "conv1");
  for (const std::string half : {"decoder", "encoder"}) {
    add(half + ".conv_in", half + ".conv1");
    add(half + ".norm_out", half + ".head.0");
    add(half + ".conv_out", half + ".head.2");
    add_mid_block(half);
  }
  int64_t downsamples = 0;
  for (size_t i = 0; i < config.widths.size(); ++i) {
    const std::string block = fmt::format("decoder.up_blocks.{}", i);
    for (int64_t j = 0; j <= config.layers_per_block; ++j)
      add_resnet(fmt::format("{}.resnets.{}", block, j),
                 fmt::format("decoder.upsamples.{}", upsamples_++));
    for (int64_t j = 0; j < config.layers_per_block; ++j, ++downsamples)
      add_resnet(fmt::format("encoder.down_blocks.{}", downsamples),
                 fmt::format("encoder.downsamples.{}", downsamples));
    if (i + 1 == config.widths.size()) break;
    add(block + ".upsamplers.0.resample.1",
        fmt::format("decoder.upsamples.{}.resample.1", upsamples_++));
    add(fmt::format("encoder.down_blocks.{}.resample.1", downsamples),
        fmt::format("encoder.downsamples.{}.resample.1", downsamples));
    ++downsamples;
  }
}

bool ModuleNames::are_in(const Checkpoint& file, std::string_view module) const {
  const std::vector<std::string> names = stored_names(fmt::format("{}.weight", module), aliases());
  return std::any_of(names.begin(), names.end(),
                     [&](const std::string& name) { return file.find(name) != nullptr; });
}

Status ModuleNames::refuse(const Checkpoint& file, std::string_view module,
                           std::string_view key) const {
  if (!are_in(file, module)) return {};
  return make_error(ErrorCode::kShapeMismatch, "{}: holds {}.weight, but {} is false in the config",
                    file.path().string(), module, key);
}

void ModuleNames::add_mid_block(const std::string& half) {
  add_resnet(half + ".mid_block.resnets.0", half + ".middle.0");
  add_resnet(half + ".mid_block.resnets.1", half + ".middle.2");
  for (const char* part : {"norm", "to_qkv", "proj"})
    add(fmt::format("{}.mid_block.attentions.0.{}", half, part),
        fmt::format("{}.middle.1.{}", half, part));
}

void ModuleNames::add(std::string module, std::string stored) {
  const std::string& name = strings_.emplace_back(std::move(module));
  aliases_.push_back({name, strings_.emplace_back(std::move(stored))});
}

void ModuleNames::add_resnet(const std::string& module, const std::string& stored) {
  for (const auto& [part, place] : {std::pair{"norm1", "residual.0"},
                                    {"conv1", "residual.2"},
                                    {"norm2", "residual.3"},
                                    {"conv2", "residual.6"},
                                    {"conv_shortcut", "shortcut"}})
    add(fmt::format("{}.{}", module, part), fmt::format("{}.{}", stored, place));
}

}  // namespace intaglio::autoencoder
