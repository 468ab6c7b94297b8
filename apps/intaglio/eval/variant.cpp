#include "eval/variant.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <functional>
#include <set>

#include "argument_values.h"
#include "io/printable.h"
#include "models/parts/selection.h"

namespace intaglio::cli {
namespace {

constexpr size_t kMostNameBytes = 80;

bool may_name(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
         c == '_' || c == '.' || c == '+';
}

// "int8,steps=12" -> "int8-steps12".
std::string name_of(std::string_view text) {
  std::string name;
  for (const char c : text) {
    if (c == '=') continue;
    const char next = may_name(c) ? c : '-';
    if (next != '-' || (!name.empty() && name.back() != '-')) name += next;
  }
  while (!name.empty() && (name.front() == '.' || name.front() == '-')) name.erase(0, 1);
  return name.substr(0, kMostNameBytes);
}

bool is_name(std::string_view name) {
  return !name.empty() && name.size() <= kMostNameBytes && name.front() != '.' &&
         std::all_of(name.begin(), name.end(), may_name);
}

struct Key {
  std::string name;
  std::function<void(Variant&, std::string)> set;
  bool repeats = false;  // whether it may be there more than once
};

const std::vector<Key>& keys() {
  const auto to = [](std::optional<std::string> ModelFlags::*member) {
    return [member](Variant& v, std::string text) { v.model.*member = std::move(text); };
  };
  const auto schedule = [](std::optional<std::string> ScheduleFlags::*member) {
    return [member](Variant& v, std::string text) { v.schedule.*member = std::move(text); };
  };
  static const std::vector<Key> kKeys{
      {"name", [](Variant& v, std::string text) { v.name = std::move(text); }},
      {"precision", [](Variant& v, std::string text) { v.precision = std::move(text); }},
      {"model", [](Variant& v, std::string text) { v.model.model = std::move(text); }},
      {"transformer", to(&ModelFlags::transformer)},
      {"unconditional", to(&ModelFlags::unconditional)},
      {"text-encoder", to(&ModelFlags::text_encoder)},
      {"vae", to(&ModelFlags::vae)},
      {"tokenizer", to(&ModelFlags::tokenizer)},
      {"keep-bf16", [](Variant& v, std::string text) { v.keep_bf16.push_back(std::move(text)); },
       true},
      {"lora", [](Variant& v, std::string text) { v.loras.push_back(std::move(text)); }, true},
      {"attention", [](Variant& v, std::string text) { v.attention = std::move(text); }},
      {"cache", [](Variant& v, std::string text) { v.cache = std::move(text); }},
      {"progressive", [](Variant& v, std::string text) { v.progressive = std::move(text); }},
      {"preset", schedule(&ScheduleFlags::preset)},
      {"steps", schedule(&ScheduleFlags::steps)},
      {"mu", schedule(&ScheduleFlags::mu)},
      {"std", schedule(&ScheduleFlags::std)},
      {"shift", schedule(&ScheduleFlags::shift)},
      {"guidance",
       [](Variant& v, std::string text) {
         std::replace(text.begin(), text.end(), ';', ',');
         v.schedule.guidance = std::move(text);
       }},
  };
  return kKeys;
}

std::vector<std::string> key_names() {
  std::vector<std::string> names;
  for (const Key& key : keys()) names.push_back(key.name);
  return names;
}

// `given`: keys of the items before this one.
Status set_item(std::string_view flag, std::string_view item, std::set<std::string>& given,
                Variant& variant) {
  const bool first = given.empty();
  const size_t equals = item.find('=');
  const std::string name(first && equals == std::string_view::npos ? "precision"
                                                                   : item.substr(0, equals));
  const std::string value(equals == std::string_view::npos ? (first ? item : std::string_view())
                                                           : item.substr(equals + 1));
  const auto key =
      std::find_if(keys().begin(), keys().end(), [&](const Key& one) { return one.name == name; });
  if (key == keys().end())
    return make_error(ErrorCode::kInvalidArgument, "{}: unknown key \"{}\", expected {}{}", flag,
                      printable(name, 60), fmt::join(key_names(), ", "),
                      nearest_text(name, key_names()));
  if (value.empty())
    return make_error(ErrorCode::kInvalidArgument, "{}: \"{}\" has no value, expected {}=VALUE",
                      flag, printable(item, 60), name);
  if (!given.insert(name).second && !key->repeats)
    return make_error(ErrorCode::kInvalidArgument, "{}: \"{}\" is there twice", flag, name);
  key->set(variant, value);
  return {};
}

}  // namespace

Expected<Variant> parse_variant(std::string_view flag, const std::string& text,
                                const std::string& model) {
  Variant variant;
  variant.text = text;
  variant.model.model = model;
  std::string_view rest = text;
  std::set<std::string> given;
  for (;;) {
    const size_t comma = rest.find(',');
    INTAGLIO_TRY(set_item(flag, rest.substr(0, comma), given, variant));
    if (comma == std::string_view::npos) break;
    rest.remove_prefix(comma + 1);
  }
  if (!precision_from_name(variant.precision)) {
    const std::vector<std::string> names(precision_names().begin(), precision_names().end());
    return make_error(ErrorCode::kInvalidArgument, "{}: unknown precision \"{}\", expected {}{}",
                      flag, printable(variant.precision, 60), fmt::join(names, ", "),
                      nearest_text(variant.precision, names));
  }
  if (variant.name.empty()) variant.name = name_of(text);
  if (!is_name(variant.name))
    return make_error(ErrorCode::kInvalidArgument,
                      "{}: the name \"{}\" cannot be a folder's, expected at most {} letters, "
                      "digits and any of -_.+",
                      flag, printable(variant.name, 60), kMostNameBytes);
  return variant;
}

}  // namespace intaglio::cli
