#include "models/parts/config_notes.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <iterator>
#include <nlohmann/json.hpp>

#include "io/printable.h"

namespace intaglio {
namespace {

using enum KeyRole;

constexpr std::string_view kQuantized = "no program is known that says so";

// Of weights that src/io/formats reads.
constexpr std::string_view kReadMethods[] = {"bitsandbytes", "compressed-tensors", "quanto", "sdnq",
                                             "torchao"};

// What writers of configs note down beside the settings.
const ConfigTable& notes() {
  static const ConfigTable table{{"_diffusers_version", kHarmless},
                                 {"_name_or_path", kHarmless},
                                 {"_commit_hash", kHarmless},
                                 {"dtype", kHarmless},
                                 {"torch_dtype", kHarmless},
                                 {"transformers_version", kHarmless},
                                 {"quantization_config"},
                                 {"quantization", kOnly, kNull, kQuantized},
                                 // The types of the weights say it too.
                                 {"ideogram_fp8_weight_only", kHarmless}};
  return table;
}

const ConfigTable& own_defaults_table() {
  static const ConfigTable table{{"default_steps"},  {"default_guidance"}, {"default_mu"},
                                 {"default_std"},    {"default_size"},     {"only_default_size"},
                                 {"quoted_capitals"}};
  return table;
}

const ConfigTable& preset_table() {
  static const ConfigTable table{{"steps"}, {"mu"}, {"std"}, {"shift"}, {"guidance"}};
  return table;
}

}  // namespace

ConfigTable with_notes(ConfigTable table) {
  table.insert(table.end(), notes().begin(), notes().end());
  return table;
}

ConfigTable pipeline_keys(std::string_view classes, const ConfigTable& own) {
  ConfigTable table = with_notes({{"_class_name", kOnly, classes},
                                  {"transformer"},
                                  {"text_encoder"},
                                  {"tokenizer"},
                                  {"vae"},
                                  {"scheduler"},
                                  {"intaglio"},
                                  {"presets"}});
  table.insert(table.end(), own.begin(), own.end());
  return table;
}

Status check_quantization(const JsonConfig& config) {
  constexpr std::string_view kKey = "quantization_config";
  if (!config.contains(kKey)) return {};
  INTAGLIO_ASSIGN(const JsonConfig quantization, config.object(kKey));
  INTAGLIO_ASSIGN(const std::string method, quantization.string_or("quant_method", "none"));
  if (std::find(std::begin(kReadMethods), std::end(kReadMethods), method) != std::end(kReadMethods))
    return {};
  return make_error(ErrorCode::kUnsupported, "{}quant_method: found {}, supported is {}",
                    quantization.where(), printable(method, 60), fmt::join(kReadMethods, " or "));
}

Expected<std::vector<KeyedConfig>> keyed_model_index(const JsonConfig& config,
                                                     const ConfigTable& table) {
  std::vector<KeyedConfig> parts{{config, table}};
  if (config.contains("intaglio")) {
    INTAGLIO_ASSIGN(const JsonConfig own, config.object("intaglio"));
    parts.push_back({own, own_defaults_table(), "intaglio."});
  }
  if (!config.contains("presets")) return parts;
  INTAGLIO_ASSIGN(const JsonConfig presets, config.object("presets"));
  for (const auto& [name, value] : presets.json().items()) {
    INTAGLIO_ASSIGN(const JsonConfig preset, presets.object(name));
    parts.push_back({preset, preset_table(), fmt::format("presets.{}.", printable(name, 60))});
  }
  return parts;
}

}  // namespace intaglio
