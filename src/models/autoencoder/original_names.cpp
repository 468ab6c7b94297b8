#include "models/autoencoder/original_names.h"

#include <fmt/format.h>

#include <array>
#include <deque>
#include <string>
#include <vector>

namespace intaglio::autoencoder {
namespace {

struct Names {
  std::deque<std::string> texts;  // what the aliases are views of
  std::vector<ModuleAlias> aliases;

  void add(std::string module, std::string stored) {
    const std::string& own = texts.emplace_back(std::move(module));
    aliases.push_back({own, texts.emplace_back(std::move(stored))});
  }
  void add_resnets(const std::string& modules, const std::string& stored) {
    for (const char* const same : {"norm1", "conv1", "norm2", "conv2"})
      add(modules + same, stored + same);
    add(modules + "conv_shortcut", stored + "nin_shortcut");
  }
  // What an encoder and a decoder have alike.
  void add_half(const std::string& half) {
    for (int i = 0; i < 2; ++i)
      add(fmt::format("{}.mid_block.resnets.{}.*", half, i),
          fmt::format("{}.mid.block_{}.*", half, i + 1));
    const std::string attention = half + ".mid_block.attentions.0.";
    const std::string stored = half + ".mid.attn_1.";
    add(attention + "group_norm", stored + "norm");
    add(attention + "to_q", stored + "q");
    add(attention + "to_k", stored + "k");
    add(attention + "to_v", stored + "v");
    add(attention + "to_out.0", stored + "proj_out");
    add(half + ".conv_norm_out", half + ".norm_out");
  }
};

Names names_of(size_t widths) {
  Names names;
  for (const std::string half : {"decoder", "encoder"}) names.add_half(half);
  names.add("post_quant_conv", "decoder.post_quant_conv");
  names.add("quant_conv", "encoder.quant_conv");
  for (size_t i = 0; i < widths; ++i) {
    const std::string up = fmt::format("decoder.up_blocks.{}.", i);
    const std::string stored_up = fmt::format("decoder.up.{}.", widths - 1 - i);
    names.add_resnets(up + "resnets.*.", stored_up + "block.*.");
    names.add(up + "upsamplers.0.conv", stored_up + "upsample.conv");
    const std::string down = fmt::format("encoder.down_blocks.{}.", i);
    const std::string stored_down = fmt::format("encoder.down.{}.", i);
    names.add_resnets(down + "resnets.*.", stored_down + "block.*.");
    names.add(down + "downsamplers.0.conv", stored_down + "downsample.conv");
  }
  return names;
}

}  // namespace

std::span<const ModuleAlias> original_names(size_t widths) {
  static const std::array<Names, kMostWidths + 1> all = [] {
    std::array<Names, kMostWidths + 1> made;
    for (size_t i = 0; i < made.size(); ++i) made[i] = names_of(i);
    return made;
  }();
  return all[widths].aliases;
}

}  // namespace intaglio::autoencoder
