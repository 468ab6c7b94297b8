#include "models/krea2/aliases.h"

#include <fmt/format.h>

#include <deque>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace intaglio::krea2 {
namespace {

constexpr std::pair<std::string_view, std::string_view> kOutside[] = {
    {"img_in", "first"},
    {"time_embed.linear_1", "tmlp.0"},
    {"time_embed.linear_2", "tmlp.2"},
    {"time_mod_proj", "tproj.1"},
    {"txt_in.norm.weight", "txtmlp.0.scale"},
    {"txt_in.linear_1", "txtmlp.1"},
    {"txt_in.linear_2", "txtmlp.3"},
    {"text_fusion.projector", "txtfusion.projector"},
    {"final_layer.linear", "last.linear"},
    {"final_layer.norm.weight", "last.norm.scale"},
    {"final_layer.scale_shift_table", "last.modulation.lin"}};

constexpr ModuleAlias kTables{
    .module = "transformer_blocks.*.scale_shift_table", .stored = "blocks.*.mod.lin", .flat = true};

constexpr std::pair<std::string_view, std::string_view> kStacks[] = {
    {"transformer_blocks.*.", "blocks.*."},
    {"text_fusion.layerwise_blocks.*.", "txtfusion.layerwise_blocks.*."},
    {"text_fusion.refiner_blocks.*.", "txtfusion.refiner_blocks.*."}};

constexpr std::pair<std::string_view, std::string_view> kInBlocks[] = {
    {"attn.to_q", "attn.wq"},
    {"attn.to_k", "attn.wk"},
    {"attn.to_v", "attn.wv"},
    {"attn.to_gate", "attn.gate"},
    {"attn.to_out.0", "attn.wo"},
    {"attn.norm_q.weight", "attn.qknorm.qnorm.scale"},
    {"attn.norm_k.weight", "attn.qknorm.knorm.scale"},
    {"norm1.weight", "prenorm.scale"},
    {"norm2.weight", "postnorm.scale"},
    {"ff.gate", "mlp.gate"},
    {"ff.up", "mlp.up"},
    {"ff.down", "mlp.down"}};

}  // namespace

std::span<const ModuleAlias> original_names() {
  static const auto* const names = [] {
    struct Names {
      std::deque<std::string> strings;
      std::vector<ModuleAlias> aliases;
    };
    auto* const all = new Names;  // never freed: looked at until the program ends
    for (const auto& [ours, theirs] : kOutside) all->aliases.push_back({ours, theirs});
    all->aliases.push_back(kTables);
    const auto keep = [&](std::string_view a, std::string_view b) -> std::string_view {
      return all->strings.emplace_back(fmt::format("{}{}", a, b));
    };
    for (const auto& [our_stack, their_stack] : kStacks)
      for (const auto& [ours, theirs] : kInBlocks)
        all->aliases.push_back({keep(our_stack, ours), keep(their_stack, theirs)});
    return all;
  }();
  return names->aliases;
}

}  // namespace intaglio::krea2
