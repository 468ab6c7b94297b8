#include "io/formats/sdnq_config.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "io/config_keys.h"
#include "io/printable.h"

namespace intaglio {
namespace {

using enum KeyRole;

constexpr std::string_view kWeight = ".weight";
constexpr std::string_view kOther = "not read";

// What changes the numbers is read, or is refused with another value; the rest says how they were
// found, or how its own products run.
constexpr ConfigKey kConfigKeys[] = {{"quant_method"},
                                     {"weights_dtype", kOnly, R"(["int8", "uint8"])", kOther},
                                     {"modules_dtype_dict", kOnly, "[{}]", kOther},
                                     {"modules_quant_config"},
                                     {"use_codebook", kOnly, "[false]", kOther},
                                     {"use_hadamard"},
                                     {"hadamard_group_size"},
                                     {"use_svd", kHarmless},
                                     {"svd_rank", kHarmless},
                                     {"svd_steps", kHarmless},
                                     {"group_size", kHarmless},
                                     {"add_skip_keys", kHarmless},
                                     {"codebook_steps", kHarmless},
                                     {"dequantize_fp32", kHarmless},
                                     {"dynamic_loss_threshold", kHarmless},
                                     {"is_integer", kHarmless},
                                     {"is_training", kHarmless},
                                     {"is_unsigned", kHarmless},
                                     {"minimum_allowed_channel_size", kHarmless},
                                     {"minimum_allowed_numel", kHarmless},
                                     {"modules_to_not_convert", kHarmless},
                                     {"modules_to_not_use_matmul", kHarmless},
                                     {"non_blocking", kHarmless},
                                     {"quant_conv", kHarmless},
                                     {"quant_embedding", kHarmless},
                                     {"quantization_device", kHarmless},
                                     {"quantized_matmul_dtype", kHarmless},
                                     {"return_device", kHarmless},
                                     {"sdnq_version", kHarmless},
                                     {"use_dynamic_quantization", kHarmless},
                                     {"use_grad_ckpt", kHarmless},
                                     {"use_quantized_matmul", kHarmless},
                                     {"use_quantized_matmul_conv", kHarmless},
                                     {"use_static_quantization", kHarmless},
                                     {"use_stochastic_rounding", kHarmless}};

// Of one module.
constexpr ConfigKey kModuleKeys[] = {{"use_hadamard"}, {"hadamard_group_size"}};

constexpr int64_t kSmallestGroup = 4;
constexpr int64_t kMaxGroup = int64_t{1} << 30;

Status check_keys(const JsonConfig& config, std::span<const ConfigKey> table) {
  const KeyedConfig keyed{config, table};
  INTAGLIO_TRY(check_config_keys({&keyed, 1}));
  const UnknownKeys unknown = unknown_config_keys({&keyed, 1});
  if (unknown.arithmetic.empty()) return {};
  return make_error(ErrorCode::kUnsupported,
                    "{}{}: not known, and may change what the numbers mean", config.where(),
                    printable(unknown.arithmetic.front()));
}

Expected<SdnqHadamard> read_hadamard(const JsonConfig& config, const SdnqHadamard& otherwise) {
  SdnqHadamard hadamard;
  INTAGLIO_ASSIGN(hadamard.used, config.boolean_or("use_hadamard", otherwise.used));
  INTAGLIO_ASSIGN(hadamard.most,
                  config.integer_or("hadamard_group_size", otherwise.most, 1, kMaxGroup));
  return hadamard;
}

// A part of a name and one with a star stand for any number of modules there.
bool is_of_one_module(std::string_view key) {
  return key.ends_with(kWeight) && !key.starts_with(".") && key.find('*') == std::string_view::npos;
}

// The group that most of the quantized linears have.
int64_t usual_group(std::span<const SdnqLinear> linears) {
  std::map<int64_t, int64_t> counts;
  for (const SdnqLinear& linear : linears) counts[linear.group] += linear.quantized;
  return std::max_element(counts.begin(), counts.end(),
                          [](const auto& a, const auto& b) { return a.second < b.second; })
      ->first;
}

}  // namespace

const SdnqHadamard& SdnqConfig::of(std::string_view module) const {
  const auto found = modules.find(module);
  return found == modules.end() ? all : found->second;
}

Expected<SdnqConfig> read_sdnq_config(const JsonConfig& config) {
  INTAGLIO_TRY(check_keys(config, kConfigKeys));
  SdnqConfig result;
  INTAGLIO_ASSIGN(result.all, read_hadamard(config, {}));
  if (!config.contains("modules_quant_config")) return result;
  INTAGLIO_ASSIGN(const JsonConfig modules, config.object("modules_quant_config"));
  for (const auto& [key, ignored] : modules.json().items()) {
    if (!is_of_one_module(key)) {
      return make_error(ErrorCode::kUnsupported,
                        "{}{}: found a pattern, expected \"MODULE.weight\"", modules.where(),
                        printable(key));
    }
    INTAGLIO_ASSIGN(const JsonConfig own, modules.object(key));
    INTAGLIO_TRY(check_keys(own, kModuleKeys));
    const std::string module = key.substr(0, key.size() - kWeight.size());
    INTAGLIO_ASSIGN(result.modules[module], read_hadamard(own, result.all));
  }
  return result;
}

int64_t sdnq_hadamard_group(int64_t k, int64_t most) {
  const int64_t least = std::min(k, most);
  int64_t group = 1;
  while (group < least) group *= 2;
  while (group >= kSmallestGroup && k % group != 0) group /= 2;
  return group >= kSmallestGroup ? group : 0;
}

std::string sdnq_config_text(std::span<const SdnqLinear> linears) {
  const auto is_quantized = [](const SdnqLinear& linear) { return linear.quantized; };
  if (std::none_of(linears.begin(), linears.end(), is_quantized)) return {};
  const int64_t usual = usual_group(linears);
  nlohmann::ordered_json floats = nlohmann::ordered_json::array();
  nlohmann::ordered_json modules = nlohmann::ordered_json::object();
  for (const SdnqLinear& linear : linears) {
    const std::string name = linear.name + std::string(kWeight);
    if (!linear.quantized) {
      floats.push_back(name);
    } else if (linear.group == 0) {
      if (usual != 0) modules[name] = {{"use_hadamard", false}};
    } else if (usual == 0 || sdnq_hadamard_group(linear.k, usual) != linear.group) {
      modules[name] = {{"use_hadamard", true}, {"hadamard_group_size", linear.group}};
    }
  }
  nlohmann::ordered_json json{{"quant_method", "sdnq"},
                              {"weights_dtype", "int8"},
                              {"group_size", -1},
                              {"use_hadamard", usual != 0}};
  if (usual != 0) json["hadamard_group_size"] = usual;
  json["use_quantized_matmul"] = false;
  json["dequantize_fp32"] = true;
  json["add_skip_keys"] = false;
  json["modules_to_not_convert"] = std::move(floats);
  json["modules_quant_config"] = std::move(modules);
  return json.dump();
}

}  // namespace intaglio
