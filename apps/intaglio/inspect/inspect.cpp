// `intaglio inspect`: what a model, a part or a file holds.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "argument_values.h"
#include "command.h"
#include "console.h"
#include "core/memory_info.h"
#include "inspect/inspect_diff.h"
#include "inspect/inspect_linears.h"
#include "inspect/inspect_report.h"
#include "io/hub_cache.h"
#include "io/printable.h"
#include "model_flags.h"
#include "options.h"
#include "progress.h"

namespace intaglio::cli {
namespace {

using nlohmann::ordered_json;

constexpr size_t kHelpColumns = 80;

struct InspectFlags {
  std::string path;
  std::optional<std::string> diff;  // the reference to compare it with
  ModelFlags parts;
  int threads = 0;
  bool json = false;
  bool all = false;
};

std::vector<std::string_view> split_name(std::string_view name) {
  std::vector<std::string_view> items;
  for (size_t begin = 0; begin <= name.size();) {
    const size_t end = std::min(name.find('.', begin), name.size());
    items.push_back(name.substr(begin, end - begin));
    begin = end + 1;
  }
  return items;
}

bool is_number(std::string_view item) {
  return item == "*" ||
         (!item.empty() && item.find_first_not_of("0123456789") == std::string_view::npos);
}

// "layers.3.w1" -> "layers.*.w1": equal for tensors that differ in numbers only.
std::string without_numbers(std::string_view name) {
  std::vector<std::string_view> items = split_name(name);
  for (std::string_view& item : items) {
    if (is_number(item)) item = "*";
  }
  return fmt::format("{}", fmt::join(items, "."));
}

// A '*' where two names of one without_numbers() differ.
std::string merged_name(std::string_view a, std::string_view b) {
  std::vector<std::string_view> items = split_name(a);
  const std::vector<std::string_view> others = split_name(b);
  for (size_t i = 0; i < std::min(items.size(), others.size()); ++i) {
    if (items[i] != others[i]) items[i] = "*";
  }
  return fmt::format("{}", fmt::join(items, "."));
}

// Type and shape of a tensor as the file has them: "F6_E2M3 [4, 8]" of a foreign one is split at
// its bracket.
std::string type_of(const TensorEntry& tensor) {
  if (tensor.foreign.empty()) return std::string(dtype_name(tensor.view.dtype));
  return tensor.foreign.substr(0, tensor.foreign.rfind(" ["));
}
std::string shape_of(const TensorEntry& tensor) {
  if (tensor.foreign.empty()) return to_string(tensor.view.shape);
  return tensor.foreign.substr(tensor.foreign.rfind(" [") + 1);
}

struct TensorLine {
  std::string name, type, shape;
  int64_t count = 0;
};

// One line a tensor, or one for all that differ only in numbers of their names.
std::vector<TensorLine> tensor_lines(const std::vector<const TensorEntry*>& tensors, bool all) {
  std::vector<TensorLine> lines;
  std::map<std::string, size_t> known;
  for (const TensorEntry* tensor : tensors) {
    TensorLine line{tensor->name, type_of(*tensor), shape_of(*tensor), 1};
    if (!all) {
      const auto [found, is_new] = known.try_emplace(
          fmt::format("{} {} {}", without_numbers(tensor->name), line.type, line.shape),
          lines.size());
      if (!is_new) {
        TensorLine& first = lines[found->second];
        first.name = merged_name(first.name, tensor->name);
        ++first.count;
        continue;
      }
    }
    lines.push_back(std::move(line));
  }
  return lines;
}

void print_tensors(const std::vector<const TensorEntry*>& tensors, bool all) {
  const std::vector<TensorLine> lines = tensor_lines(tensors, all);
  size_t width = 0;
  for (const TensorLine& line : lines)
    width = std::max(width, std::min<size_t>(printable(line.name).size(), 72));
  for (const TensorLine& line : lines) {
    print(Stream::kOut, "    {:<{}}  {:<7} {}{}\n", printable(line.name), width, line.type,
          line.shape, line.count > 1 ? fmt::format("  x {}", line.count) : "");
  }
}

std::string types_text(const std::vector<const TensorEntry*>& tensors) {
  std::map<std::string, uint64_t> bytes;
  for (const TensorEntry* tensor : tensors) bytes[type_of(*tensor)] += tensor->view.size_bytes();
  std::vector<std::string> items;
  for (const auto& [name, size] : bytes)
    items.push_back(fmt::format("{} {}", name, format_bytes(size)));
  return fmt::format("{}", fmt::join(items, ", "));
}

std::string short_json(const ordered_json& value) {
  if (value.is_string()) return printable(value.get<std::string>(), 2000);
  return printable(value.dump(-1, ' ', false, ordered_json::error_handler_t::replace), 300);
}

void print_linear(const LinearReport& linear) {
  print(Stream::kOut, "    {}  {}{}\n", printable(linear.name), linear.stored_as,
        linear.has_scales ? fmt::format("  {:.3g} {:.3g} {:.3g}", linear.least_scale,
                                        linear.median_scale, linear.largest_scale)
                          : "");
}

void print_part(const PartReport& part, bool all) {
  print(Stream::kOut, "{}: {}{}{}\n", printable(part.name), part.kind,
        part.detail.empty() ? "" : ", ", printable(part.detail));
  if (part.kind == "weights") {
    print(Stream::kOut, "  {} tensors, {} parameters, {} in {} file{} ({})\n", part.tensors.size(),
          format_count(part.parameters), format_bytes(part.file_bytes), part.files.size(),
          part.files.size() == 1 ? "" : "s", types_text(part.tensors));
  } else {
    print(Stream::kOut, "  {}\n", format_bytes(part.file_bytes));
  }
  for (const auto& [key, value] : part.facts.items()) {
    if (key == "memory_bytes") continue;  // "memory" says it for people
    if (value.is_object() && key != "intaglio") {
      for (const auto& [name, item] : value.items()) {
        print(Stream::kOut, "  {}.{}: {}\n", printable(key), printable(name), short_json(item));
      }
    } else {
      print(Stream::kOut, "  {}: {}\n", printable(key), short_json(value));
    }
  }
  if (!part.tensors.empty()) {
    print(Stream::kOut, "  tensors:\n");
    print_tensors(part.tensors, all);
  }
  if (all && !part.linears.empty()) {
    print(Stream::kOut, "  linears, by their scales (least, median, largest):\n");
    for (const LinearReport& linear : part.linears) print_linear(linear);
  }
  if (!part.unused.empty()) {
    print(Stream::kOut, "  not used by the engine ({} of {} tensors):\n", part.unused.size(),
          part.tensors.size());
    print_tensors(part.unused, all);
  }
  print(Stream::kOut, "\n");
}

int print_report(const InspectReport& report, bool all) {
  uint64_t bytes = 0, parameters = 0;
  for (const PartReport& part : report.parts) {
    bytes += part.file_bytes;
    parameters += part.parameters;
  }
  if (report.kind != "file") {
    print(Stream::kOut, "{}: {}{}{}\n", report.path.string(), report.kind,
          report.detail.empty() ? "" : ", ", printable(report.detail));
    print(Stream::kOut, "  {} parts, {} parameters, {}\n\n", report.parts.size(),
          format_count(parameters), format_bytes(bytes));
  }
  for (const PartReport& part : report.parts) print_part(part, all);
  if (report.prompt_help) {
    print(Stream::kOut, "{}", OwnLines{prompt_help_text(*report.prompt_help, kHelpColumns)});
  }
  for (const Error& error : report.errors) print_error(error.message);
  return report.errors.empty() ? kExitOk : kExitFailure;
}

ordered_json tensors_json(const std::vector<const TensorEntry*>& tensors) {
  ordered_json list = ordered_json::array();
  for (const TensorEntry* tensor : tensors) {
    const Shape& shape = tensor->view.shape;
    ordered_json sizes(std::vector<int64_t>(shape.dims.begin(), shape.dims.begin() + shape.rank));
    if (!tensor->foreign.empty()) sizes = shape_of(*tensor);
    list.push_back({{"name", tensor->name},
                    {"dtype", type_of(*tensor)},
                    {"shape", std::move(sizes)},
                    {"bytes", tensor->view.size_bytes()}});
  }
  return list;
}

int print_report_json(const InspectReport& report) {
  ordered_json parts = ordered_json::array();
  for (const PartReport& part : report.parts) {
    ordered_json item{{"name", part.name},
                      {"kind", part.kind},
                      {"detail", part.detail},
                      {"file_bytes", part.file_bytes}};
    for (const auto& file : part.files) item["files"].push_back(file.string());
    if (!part.facts.is_null()) item["facts"] = part.facts;
    if (part.kind == "weights") {
      item["parameters"] = part.parameters;
      item["tensors"] = tensors_json(part.tensors);
      if (!part.linears.empty()) item["linears"] = linears_json(part.linears);
    }
    if (part.knows_use) {
      item["unused_tensors"] = ordered_json::array();
      for (const TensorEntry* tensor : part.unused) item["unused_tensors"].push_back(tensor->name);
    }
    parts.push_back(std::move(item));
  }
  ordered_json errors = ordered_json::array();
  for (const Error& error : report.errors) {
    print_error(error.message);
    errors.push_back({{"code", error_code_name(error.code)}, {"message", error.message}});
  }
  ordered_json result{{"status", report.errors.empty() ? "ok" : "error"},
                      {"path", report.path.string()},
                      {"kind", report.kind},
                      {"detail", report.detail},
                      {"parts", parts}};
  if (report.prompt_help) result["prompt_help"] = prompt_help_json(*report.prompt_help);
  result["errors"] = errors;
  print_json(result);
  return report.errors.empty() ? kExitOk : kExitFailure;
}

// A file or folder, or what a name stands for.
Expected<std::filesystem::path> find_path(const std::string& name) {
  std::error_code ignored;
  if (name == "mini" || (is_hub_name(name) && !std::filesystem::exists(name, ignored)))
    return resolve_model(name);
  return std::filesystem::path(name);
}

Expected<DiffFlags> read_diff(const InspectFlags& flags) {
  const ModelFlags& parts = flags.parts;
  if (parts.transformer || parts.unconditional || parts.text_encoder || parts.vae ||
      parts.tokenizer)
    return make_error(ErrorCode::kInvalidArgument,
                      "--diff: compares what lies at two places, expected no parts from elsewhere");
  DiffFlags diff{.all = flags.all, .json = flags.json, .threads = flags.threads};
  INTAGLIO_ASSIGN(diff.reference, find_path(*flags.diff));
  INTAGLIO_ASSIGN(diff.other, find_path(flags.path));
  return diff;
}

int run_inspect(const InspectFlags& flags) {
  if (flags.diff) {
    const Expected<DiffFlags> diff = read_diff(flags);
    return diff ? run_diff(*diff) : fail(diff.error(), flags.json);
  }
  const Expected<std::filesystem::path> path = find_path(flags.path);
  if (!path) return fail(path.error(), flags.json);
  const Expected<ModelPaths> paths = part_paths(*path, flags.parts);
  if (!paths) return fail(paths.error(), flags.json);
  const Expected<InspectReport> report = inspect_path(*paths);
  if (!report) return fail(report.error(), flags.json);
  return flags.json ? print_report_json(*report) : print_report(*report, flags.all);
}

}  // namespace

void add_inspect(CLI::App& app, Action& action) {
  auto flags = std::make_shared<InspectFlags>();
  CLI::App* command = app.add_subcommand("inspect", "Show what a model or a file holds");
  command
      ->add_option("path", flags->path,
                   "Folder of a model or of one part, a .safetensors, .gguf, .json or .png file, "
                   "owner/name in the Hugging Face cache, or \"mini\"")
      ->required()
      ->type_name("FILE|DIR|NAME");
  command
      ->add_option("--diff", flags->diff,
                   "Compare path's weights with these, in whatever formats: the relative error of "
                   "every tensor, the largest first")
      ->type_name("REFERENCE");
  add_part_flags(*command, flags->parts);
  command->add_flag("--all", flags->all,
                    "List every tensor, also those that differ only in a layer's number");
  add_threads_flag(*command, flags->threads);
  command->add_flag("--json", flags->json, "Print one JSON result on stdout");
  command->footer(
      "Examples:\n"
      "  intaglio inspect mini\n"
      "  intaglio inspect models/mini/transformer --all\n"
      "  intaglio inspect --diff mini mini-int8\n"
      "  intaglio inspect fox.png");
  command->callback([flags, &action] { action = [flags] { return run_inspect(*flags); }; });
}

}  // namespace intaglio::cli
