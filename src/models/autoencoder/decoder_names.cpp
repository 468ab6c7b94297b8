#include "models/autoencoder/decoder_names.h"

#include <fmt/format.h>

#include <utility>

#include "models/autoencoder/original_names.h"

namespace intaglio::autoencoder {

DecoderNames::DecoderNames(const DecoderConfig& config) {
  if (config.family == DecoderFamily::kKl) {
    const std::span<const ModuleAlias> original = original_names(config.widths.size());
    aliases_.assign(original.begin(), original.end());
    return;
  }
  add("post_quant_conv", "conv2");
  add("decoder.conv_in", "decoder.conv1");
  add("decoder.norm_out", "decoder.head.0");
  add("decoder.conv_out", "decoder.head.2");
  add_resnet("decoder.mid_block.resnets.0", "decoder.middle.0");
  add_resnet("decoder.mid_block.resnets.1", "decoder.middle.2");
  for (const char* part : {"norm", "to_qkv", "proj"})
    add(fmt::format("decoder.mid_block.attentions.0.{}", part),
        fmt::format("decoder.middle.1.{}", part));
  for (size_t i = 0; i < config.widths.size(); ++i) {
    const std::string block = fmt::format("decoder.up_blocks.{}", i);
    for (int64_t j = 0; j <= config.layers_per_block; ++j)
      add_resnet(fmt::format("{}.resnets.{}", block, j),
                 fmt::format("decoder.upsamples.{}", upsamples_++));
    if (i + 1 < config.widths.size())
      add(block + ".upsamplers.0.resample.1",
          fmt::format("decoder.upsamples.{}.resample.1", upsamples_++));
  }
}

void DecoderNames::add(std::string module, std::string stored) {
  const std::string& name = strings_.emplace_back(std::move(module));
  aliases_.push_back({name, strings_.emplace_back(std::move(stored))});
}

void DecoderNames::add_resnet(const std::string& module, const std::string& stored) {
  for (const auto& [part, place] : {std::pair{"norm1", "residual.0"},
                                    {"conv1", "residual.2"},
                                    {"norm2", "residual.3"},
                                    {"conv2", "residual.6"},
                                    {"conv_shortcut", "shortcut"}})
    add(fmt::format("{}.{}", module, part), fmt::format("{}.{}", stored, place));
}

}  // namespace intaglio::autoencoder
