#include "ops/cuda/tuning/tuning_table.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "io/json_config.h"
#include "io/printable.h"
#include "ops/cuda/tuning/s8_gemm_names.h"
#include "ops/cuda/tuning/shape_bucket.h"

namespace intaglio::cuda {
namespace {

constexpr std::string_view kFormat = "intaglio-s8-gemm-tuning";
constexpr int64_t kMaxSide = int64_t{1} << 31;
constexpr int64_t kMaxDepth = 130000;  // int32 sums stay exact up to here
constexpr int64_t kMaxBand = 1 << 16;
constexpr int64_t kMaxSplit = 64;
constexpr double kMaxMs = 1e6;
constexpr size_t kMaxName = 40;
constexpr size_t kMaxCardName = 200;
constexpr size_t kMaxEntries = 100000;
constexpr size_t kMaxSkipped = 20;  // reported; a hostile file must not flood the log

Expected<std::string> short_text(const JsonConfig& json, std::string_view key, size_t max_bytes) {
  INTAGLIO_ASSIGN(std::string text, json.string_or(key, ""));
  const bool plain =
      std::all_of(text.begin(), text.end(), [](char c) { return c >= ' ' && c <= '~'; });
  if (!text.empty() && text.size() <= max_bytes && plain) return text;
  return make_error(ErrorCode::kBadFormat,
                    "{}: expected 1 to {} printable characters, found \"{}\"", key, max_bytes,
                    printable(text, 60));
}

template <typename Enum>
Status named(const JsonConfig& json, std::string_view key,
             std::optional<Enum> (*from_name)(std::string_view), Enum& value) {
  INTAGLIO_ASSIGN(const std::string name, json.string_or(key, ""));
  const std::optional<Enum> known = from_name(name);
  if (!known) {
    return make_error(ErrorCode::kBadFormat, "{}: unknown name \"{}\"", key, printable(name, 60));
  }
  value = *known;
  return {};
}

Expected<TuningEntry> parse_entry(const nlohmann::json& value) {
  INTAGLIO_ASSIGN(const JsonConfig json, JsonConfig::parse(value.dump(), "entry"));
  TuningEntry entry;
  S8GemmShape& shape = entry.shape;
  INTAGLIO_ASSIGN(shape.m, json.integer("m", 1, kMaxSide));
  INTAGLIO_ASSIGN(shape.n, json.integer("n", 1, kMaxSide));
  INTAGLIO_ASSIGN(shape.k, json.integer("k", 1, kMaxDepth));
  if (bucket_m(shape.m) != shape.m) {
    return make_error(ErrorCode::kBadFormat, "m: {} names no bucket; the next is {}", shape.m,
                      bucket_m(shape.m));
  }
  INTAGLIO_TRY(named(json, "fusion", epilogue_from_name, shape.epilogue));
  INTAGLIO_TRY(named(json, "out", s8_out_from_name, shape.out_type));
  S8GemmChoice& choice = entry.choice;
  INTAGLIO_TRY(named(json, "family", s8_gemm_family_from_name, choice.family));
  INTAGLIO_ASSIGN(choice.config, short_text(json, "config", kMaxName));
  INTAGLIO_ASSIGN(const int64_t band, json.integer("band", 1, kMaxBand));
  INTAGLIO_ASSIGN(const int64_t split, json.integer("split_k", 1, kMaxSplit));
  choice.band = static_cast<int32_t>(band);
  choice.split_k = static_cast<int32_t>(split);
  INTAGLIO_ASSIGN(entry.median_ms, json.number("median_ms"));
  if (!(entry.median_ms > 0 && entry.median_ms <= kMaxMs)) {
    return make_error(ErrorCode::kBadFormat, "median_ms: expected a time in (0, {}], found {}",
                      kMaxMs, entry.median_ms);
  }
  return entry;
}

Expected<TuningKey> parse_key(const JsonConfig& json) {
  TuningKey key;
  INTAGLIO_ASSIGN(key.card, short_text(json, "card", kMaxCardName));
  INTAGLIO_ASSIGN(const int64_t capability, json.integer("compute_capability", 1, 9999));
  INTAGLIO_ASSIGN(const int64_t driver, json.integer("driver_version", 0, 1 << 30));
  INTAGLIO_ASSIGN(const int64_t kernel, json.integer("kernel_version", 0, 1 << 30));
  key.compute_capability = static_cast<int>(capability);
  key.driver_version = static_cast<int>(driver);
  key.kernel_version = static_cast<int>(kernel);
  return key;
}

// A string as JSON writes it; bytes that are no UTF-8 are replaced, never thrown over.
std::string quoted(const std::string& text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace

TuningKey tuning_key(const CudaDevice& device) {
  // Names are cut to what the file may hold, so that a key always equals itself after reading.
  std::string card = device.name.empty() ? "unnamed" : device.name.substr(0, kMaxCardName);
  for (char& c : card) c = c >= ' ' && c <= '~' ? c : '?';
  return {card, device.compute_capability, device.driver_version, kS8GemmKernelVersion};
}

std::string describe(const TuningKey& key) {
  return fmt::format("{}, compute capability {}.{}, driver {}.{}, kernels {}", key.card,
                     key.compute_capability / 10, key.compute_capability % 10,
                     key.driver_version / 1000, key.driver_version % 1000 / 10, key.kernel_version);
}

bool same_card(const TuningKey& a, const TuningKey& b) {
  return a.card == b.card && a.compute_capability == b.compute_capability &&
         a.kernel_version == b.kernel_version;
}

TuningTable::Place TuningTable::place_of(const S8GemmShape& shape) {
  return {shape.n, shape.k, shape.epilogue, shape.out_type, bucket_m(shape.m)};
}

const TuningEntry* TuningTable::find(const S8GemmShape& shape) const {
  const auto found = entries_.find(place_of(shape));
  return found == entries_.end() ? nullptr : &found->second;
}

void TuningTable::set(TuningEntry entry) {
  entry.shape = bucketed(entry.shape);
  const Place place = place_of(entry.shape);
  entries_.insert_or_assign(place, std::move(entry));
}

void TuningTable::merge(const TuningTable& newer) {
  for (const auto& [place, entry] : newer.entries_) entries_.insert_or_assign(place, entry);
}

std::vector<TuningEntry> TuningTable::entries() const {
  std::vector<TuningEntry> all;
  all.reserve(entries_.size());
  for (const auto& [place, entry] : entries_) all.push_back(entry);
  return all;
}

Expected<ParsedTuningTable> parse_tuning_table(std::string_view text, const std::string& name) {
  INTAGLIO_ASSIGN(const JsonConfig json, JsonConfig::parse(text, name));
  INTAGLIO_ASSIGN(const std::string format, json.string_or("format", ""));
  if (format != kFormat) {
    return make_error(ErrorCode::kBadFormat, "{}: format: expected \"{}\", found \"{}\"", name,
                      kFormat, printable(format, 60));
  }
  INTAGLIO_ASSIGN(const int64_t version, json.integer("version", 0, 1 << 30));
  if (version != kTuningFormatVersion) {
    return make_error(ErrorCode::kBadFormat, "{}: version: expected {}, found {}", name,
                      kTuningFormatVersion, version);
  }
  ParsedTuningTable parsed;
  const Expected<TuningKey> key = parse_key(json);
  if (!key) return make_error(key.error().code, "{}: {}", name, key.error().message);
  parsed.table.key = *key;
  const nlohmann::json& root = json.json();
  if (!root.contains("entries") || !root.at("entries").is_array()) {
    return make_error(ErrorCode::kBadFormat, "{}: entries: expected an array", name);
  }
  if (root.at("entries").size() > kMaxEntries) {
    return make_error(ErrorCode::kBadFormat, "{}: entries: {} of them, at most {} expected", name,
                      root.at("entries").size(), kMaxEntries);
  }
  size_t index = 0, wrong = 0;
  for (const nlohmann::json& value : root.at("entries")) {
    Expected<TuningEntry> entry = parse_entry(value);
    if (entry) {
      parsed.table.set(std::move(*entry));
    } else if (++wrong <= kMaxSkipped) {
      parsed.skipped.push_back(
          fmt::format("{}: entries[{}]: {}", name, index, entry.error().message));
    }
    ++index;
  }
  if (wrong > kMaxSkipped) {
    parsed.skipped.push_back(fmt::format("{}: {} more", name, wrong - kMaxSkipped));
  }
  return parsed;
}

std::string tuning_table_text(const TuningTable& table) {
  std::string text = fmt::format(
      "{{\n  \"format\": \"{}\",\n  \"version\": {},\n  \"card\": {},\n"
      "  \"compute_capability\": {},\n  \"driver_version\": {},\n  \"kernel_version\": {},\n"
      "  \"entries\": [",
      kFormat, kTuningFormatVersion, quoted(table.key.card), table.key.compute_capability,
      table.key.driver_version, table.key.kernel_version);
  const char* separator = "\n";
  for (const TuningEntry& e : table.entries()) {
    text += fmt::format(
        "{}    {{\"m\": {}, \"n\": {}, \"k\": {}, \"fusion\": \"{}\", \"out\": \"{}\", "
        "\"family\": \"{}\", \"config\": {}, \"band\": {}, \"split_k\": {}, \"median_ms\": {}}}",
        separator, e.shape.m, e.shape.n, e.shape.k, epilogue_name(e.shape.epilogue),
        s8_out_name(e.shape.out_type), s8_gemm_family_name(e.choice.family),
        quoted(e.choice.config), e.choice.band, e.choice.split_k, e.median_ms);
    separator = ",\n";
  }
  return text + (table.size() == 0 ? "]\n}\n" : "\n  ]\n}\n");
}

}  // namespace intaglio::cuda
