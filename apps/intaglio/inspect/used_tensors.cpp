#include "inspect/used_tensors.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "models/parts/selection.h"

namespace intaglio::cli {
namespace {

// The block number in "<anything>layers.<number>.<rest>"; -1 if there is none.
int64_t layer_index(std::string_view name) {
  const size_t at = name.find("layers.");
  if (at == std::string_view::npos) return -1;
  const std::string_view rest = name.substr(at + 7);
  int64_t index = -1;
  const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), index);
  return error == std::errc() && end != rest.data() + rest.size() && *end == '.' ? index : -1;
}

int64_t integer_at(const nlohmann::json& object, const char* key, int64_t fallback) {
  if (!object.is_object() || !object.contains(key) || !object.at(key).is_number_integer())
    return fallback;
  return object.at(key).get<int64_t>();
}

bool matches_any(const std::vector<std::string>& patterns, std::string_view name) {
  return std::any_of(patterns.begin(), patterns.end(),
                     [&](const std::string& pattern) { return name_matches(pattern, name); });
}

// The last layer whose output is a text feature; layers above it are not run.
int64_t last_tap(const nlohmann::json& model_index) {
  int64_t last = 35;  // of the published list 0, 3, 6, ..., 33, 35
  if (model_index.is_object() && model_index.contains("text_activation_layers") &&
      model_index.at("text_activation_layers").is_array()) {
    last = -1;
    for (const nlohmann::json& layer : model_index.at("text_activation_layers")) {
      if (layer.is_number_integer()) last = std::max(last, layer.get<int64_t>());
    }
  }
  return last;
}

std::function<bool(std::string_view)> used_by_text_encoder(const nlohmann::json& model_index) {
  return [last = last_tap(model_index)](std::string_view name) {
    for (const std::string_view prefix : {"language_model.", "model.language_model.", "model."}) {
      if (name.starts_with(prefix)) {
        name.remove_prefix(prefix.size());
        break;
      }
    }
    if (name == "embed_tokens.weight") return true;
    return name.starts_with("layers.") && layer_index(name) >= 0 && layer_index(name) <= last;
  };
}

std::function<bool(std::string_view)> used_by_transformer(const nlohmann::json& config,
                                                          bool with_text) {
  std::vector<std::string> patterns = {"input_proj.*", "t_embedding.mlp_*", "adaln_proj.*",
                                       "final_layer.*", "embed_image_indicator.weight"};
  if (with_text) patterns.insert(patterns.end(), {"llm_cond_proj.*", "llm_cond_norm.weight"});
  return [patterns, layers = integer_at(config, "num_layers", 0)](std::string_view name) {
    if (name.starts_with("layers.")) return layer_index(name) >= 0 && layer_index(name) < layers;
    return matches_any(patterns, name);
  };
}

}  // namespace

std::function<bool(std::string_view)> used_tensors(std::string_view part,
                                                   const nlohmann::json& config,
                                                   const nlohmann::json& model_index) {
  if (part == "transformer") return used_by_transformer(config, true);
  if (part == "unconditional_transformer") return used_by_transformer(config, false);
  if (part == "text_encoder") return used_by_text_encoder(model_index);
  if (part == "vae") {
    return [patterns = std::vector<std::string>{"decoder.*", "post_quant_conv.*", "bn.running_mean",
                                                "bn.running_var"}](std::string_view name) {
      return matches_any(patterns, name);
    };
  }
  return nullptr;
}

}  // namespace intaglio::cli
