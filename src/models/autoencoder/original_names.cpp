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
};

Names names_of(size_t widths) {
  Names names;
  for (int i = 0; i < 2; ++i)
    names.add(fmt::format("decoder.mid_block.resnets.{}.*", i),
              fmt::format("decoder.mid.block_{}.*", i + 1));
  const std::string attention = "decoder.mid_block.attentions.0.", stored = "decoder.mid.attn_1.";
  names.add(attention + "group_norm", stored + "norm");
  names.add(attention + "to_q", stored + "q");
  names.add(attention + "to_k", stored + "k");
  names.add(attention + "to_v", stored + "v");
  names.add(attention + "to_out.0", stored + "proj_out");
  for (size_t i = 0; i < widths; ++i) {
    const std::string block = fmt::format("decoder.up_blocks.{}.", i);
    const std::string up = fmt::format("decoder.up.{}.", widths - 1 - i);
    for (const char* const same : {"norm1", "conv1", "norm2", "conv2"})
      names.add(block + "resnets.*." + same, up + "block.*." + same);
    names.add(block + "resnets.*.conv_shortcut", up + "block.*.nin_shortcut");
    names.add(block + "upsamplers.0.conv", up + "upsample.conv");
  }
  names.add("decoder.conv_norm_out", "decoder.norm_out");
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
