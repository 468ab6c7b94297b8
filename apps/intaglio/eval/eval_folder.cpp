#include "eval/eval_folder.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "core/files.h"
#include "io/json_config.h"
#include "io/printable.h"

namespace intaglio::cli {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr int kFormat = 1;

json plan_json(const EvalPlan& plan) {
  json prompts = json::array(), variants = json::array();
  for (const EvalPrompt& one : plan.prompts)
    prompts.push_back({{"prompt", one.prompt}, {"seed", one.seed}, {"expect", one.expect}});
  for (const auto& [name, text] : plan.variants)
    variants.push_back({{"name", name}, {"text", text}});
  return {{"format", kFormat},          {"width", plan.width},  {"height", plan.height},
          {"traced", plan.traced},      {"variants", variants}, {"prompts", prompts},
          {"baselines", plan.baselines}};
}

Expected<EvalPlan> read_plan(const fs::path& file) {
  INTAGLIO_ASSIGN(const std::string text, read_file(file));
  INTAGLIO_ASSIGN(const json value, parse_json(text, file.string()));
  try {
    if (value.at("format") != kFormat)
      return make_error(ErrorCode::kBadFormat, "{}: format {}, expected {}", file.string(),
                        value.at("format").dump(), kFormat);
    EvalPlan plan{.prompts = {},
                  .width = value.at("width"),
                  .height = value.at("height"),
                  .traced = value.at("traced"),
                  .variants = {}};
    for (const json& one : value.at("prompts"))
      plan.prompts.push_back({one.at("prompt"), one.at("seed"), one.at("expect")});
    if (const auto baselines = value.find("baselines"); baselines != value.end())
      plan.baselines = baselines->get<std::map<std::string, std::string>>();
    for (const json& one : value.at("variants"))
      plan.variants.emplace_back(one.at("name"), one.at("text"));
    if (plan.prompts.empty() || plan.variants.empty())
      return make_error(ErrorCode::kBadFormat, "{}: no prompts or no variants", file.string());
    return plan;
  } catch (const json::exception& error) {
    return make_error(ErrorCode::kBadFormat, "{}: no plan of an evaluation: {}", file.string(),
                      error.what());
  }
}

// What of `there` an evaluation of `plan` cannot go on with; empty: nothing.
std::string difference(const EvalPlan& plan, const EvalPlan& there) {
  if (plan.width != there.width || plan.height != there.height)
    return fmt::format("the size {}x{}, here {}x{}", there.width, there.height, plan.width,
                       plan.height);
  if (plan.variants.front() != there.variants.front())
    return fmt::format("the source \"{}\", here \"{}\"",
                       printable(there.variants.front().second, 100),
                       printable(plan.variants.front().second, 100));
  if (plan.prompts.size() != there.prompts.size())
    return fmt::format("{} prompts, here {}", there.prompts.size(), plan.prompts.size());
  for (size_t i = 0; i < plan.prompts.size(); ++i)
    if (!(plan.prompts[i] == there.prompts[i]))
      return fmt::format("another prompt {} or seed", i + 1);
  for (const auto& [name, text] : plan.variants)
    for (const auto& [name_there, text_there] : there.variants)
      if (name == name_there && text != text_there)
        return fmt::format("a candidate {} that is \"{}\"", name, printable(text_there, 100));
  return "";
}

// Lines of JSON objects; the last one may have been cut off, and what follows it begins a new one.
Expected<std::vector<Record>> read_lines(const fs::path& file) {
  INTAGLIO_ASSIGN(const std::string text, read_file(file));
  std::vector<Record> records;
  std::string_view rest = text;
  while (!rest.empty()) {
    const size_t end = std::min(rest.find('\n'), rest.size());
    if (auto value = parse_json(rest.substr(0, end), file.string()); value && value->is_object())
      records.push_back(std::move(*value));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return records;
}

// Regular files of the folder called PREFIX*.jsonl, by name.
std::vector<fs::path> files_called(const fs::path& folder, std::string_view prefix) {
  std::vector<fs::path> files;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with(prefix) && name.ends_with(".jsonl")) files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

// Lines of the files PREFIXname.jsonl, by name.
Expected<std::map<std::string, std::vector<Record>>> lines_by_name(const fs::path& folder,
                                                                   std::string_view prefix) {
  constexpr std::string_view kEnd = ".jsonl";
  std::map<std::string, std::vector<Record>> all;
  for (const fs::path& file : files_called(folder, prefix)) {
    std::string name = file.filename().string();
    name = name.substr(prefix.size(), name.size() - prefix.size() - kEnd.size());
    INTAGLIO_ASSIGN(all[name], read_lines(file));
  }
  return all;
}

Status append_line(const fs::path& file, const Record& record) {
  // A line before it that was cut off must not swallow it.
  const std::string line = "\n" + record.dump() + "\n";
  const int descriptor = ::open(file.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
  ssize_t written = -1;
  if (descriptor >= 0) written = ::write(descriptor, line.data(), line.size());
  const int problem = errno;
  if (descriptor >= 0) ::close(descriptor);
  if (written == static_cast<ssize_t>(line.size())) return {};
  return make_error(ErrorCode::kIo, "{}: cannot be written: {}", file.string(),
                    written >= 0 ? "the disk is full" : std::strerror(problem));
}

}  // namespace

std::string record_key(std::string_view kind, std::string_view variant, int64_t prompt) {
  return fmt::format("{}/{}/{}", kind, variant, prompt);
}

std::string record_key(const Record& record) {
  return record_key(record.value("kind", ""), record.value("variant", ""),
                    record.value("prompt", int64_t{-1}));
}

Expected<EvalFolder> EvalFolder::open(const fs::path& folder) {
  const fs::path file = folder / "plan.json";
  if (!fs::exists(file))
    return make_error(ErrorCode::kNotFound, "{}: no evaluation there, expected its plan.json",
                      folder.string());
  INTAGLIO_ASSIGN(EvalPlan plan, read_plan(file));
  return EvalFolder(folder, std::move(plan));
}

Expected<EvalFolder> EvalFolder::make(const fs::path& folder, const EvalPlan& plan) {
  EvalPlan all = plan;
  const fs::path file = folder / "plan.json";
  if (fs::exists(file)) {
    INTAGLIO_ASSIGN(const EvalPlan there, read_plan(file));
    if (const std::string what = difference(plan, there); !what.empty())
      return make_error(ErrorCode::kInvalidArgument,
                        "{}: holds an evaluation with {}; expected another folder", folder.string(),
                        what);
    all.variants = there.variants;
    for (const auto& variant : plan.variants)
      if (std::find(all.variants.begin(), all.variants.end(), variant) == all.variants.end())
        all.variants.push_back(variant);
    all.baselines.insert(there.baselines.begin(), there.baselines.end());
    all.traced = std::max(plan.traced, there.traced);
  }
  std::error_code error;
  for (const auto& [name, text] : all.variants) {
    fs::create_directories(folder / name, error);
    if (error)
      return make_error(ErrorCode::kIo, "{}: cannot be made: {}", (folder / name).string(),
                        error.message());
  }
  INTAGLIO_TRY(write_file_atomic(file, plan_json(all).dump(1) + "\n"));
  return EvalFolder(folder, std::move(all));
}

fs::path EvalFolder::picture(const std::string& variant, int64_t prompt) const {
  return folder_ / variant / fmt::format("{:05}.png", prompt);
}

fs::path EvalFolder::latents(int64_t prompt) const {
  return folder_ / plan_.variants.front().first / fmt::format("{:05}.latents", prompt);
}

Expected<std::vector<Record>> EvalFolder::records() const {
  std::map<std::string, Record> all;
  for (const fs::path& file : files_called(folder_, "measured.")) {
    INTAGLIO_ASSIGN(std::vector<Record> lines, read_lines(file));
    for (Record& record : lines) {
      std::string key = record_key(record);
      all[std::move(key)] = std::move(record);
    }
  }
  std::vector<Record> records;
  for (auto& [key, record] : all) records.push_back(std::move(record));
  return records;
}

Expected<std::map<std::string, std::vector<Record>>> EvalFolder::judgements() const {
  return lines_by_name(folder_, "judged.");
}

Expected<std::map<std::string, std::vector<Record>>> EvalFolder::scores() const {
  return lines_by_name(folder_, "scored.");
}

Status EvalFolder::append(const EvalShard& shard, const Record& record) const {
  return append_line(folder_ / fmt::format("measured.{}-of-{}.jsonl", shard.number, shard.count),
                     record);
}

Status EvalFolder::append_score(const std::string& name, const Record& record) const {
  return append_line(folder_ / fmt::format("scored.{}.jsonl", name), record);
}

}  // namespace intaglio::cli
