// `intaglio verify`: the engine against reference tensors of the published code.
#include "verify/verify.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "command.h"
#include "console.h"
#include "interrupt.h"
#include "io/printable.h"
#include "model_flags.h"
#include "options.h"

namespace intaglio::cli {
namespace {

struct VerifyFlags {
  RunFlags run{.precision = "fp32", .keep_bf16 = {}};
  ModelFlags parts;
  std::string folder, tensors_out;
};

std::string_view verdict_name(Verdict verdict) {
  switch (verdict) {
    case Verdict::kPass:
      return "pass";
    case Verdict::kFail:
      return "fail";
    case Verdict::kSkipped:
      return "skipped";
  }
  return "fail";
}

void print_case(Stream stream, const VerifyResult& result) {
  print(stream, "{:<8} {:<14} {:<34} error {:<10.3g} tolerance {:<8.2g}{}{}\n",
        verdict_name(result.verdict), result.stage, printable(result.name), result.error,
        result.tolerance, result.detail.empty() ? "" : "  ", printable(result.detail, 1000));
}

Status check_folder(std::string_view name, const std::string& folder) {
  std::error_code ignored;
  if (std::filesystem::is_directory(folder, ignored)) return {};
  return make_error(ErrorCode::kInvalidArgument, "{}: expected a folder, found {} {}", name,
                    std::filesystem::exists(folder, ignored) ? "a file" : "nothing at",
                    printable(folder));
}

int run_verify(const VerifyFlags& flags) {
  if (const Status status = check_folder("folder", flags.folder); !status)
    return fail(status.error(), flags.run.json);
  if (!flags.tensors_out.empty()) {
    if (const Status status = check_folder("--tensors-out", flags.tensors_out); !status)
      return fail(status.error(), flags.run.json);
  }
  VerifyOptions options;
  options.selection.precision = precision_from_name(flags.run.precision).value_or(Precision::kFp32);
  options.selection.keep_bf16 = flags.run.keep_bf16;
  options.threads = flags.run.threads;
  options.tensors_out = flags.tensors_out;
  const Expected<std::optional<int>> gpu = parse_device(flags.run.device);
  if (!gpu) return fail(gpu.error(), flags.run.json);
  options.gpu = *gpu;
  const Expected<ModelPaths> parts = part_paths(flags.folder, flags.parts);
  if (!parts) return fail(parts.error(), flags.run.json);
  options.parts = *parts;
  options.cancel = &interrupted;
  Stream stream = flags.run.json ? Stream::kErr : Stream::kOut;
  const Expected<std::vector<VerifyResult>> results = verify_directory(
      flags.folder, options, [&](const VerifyResult& result) { print_case(stream, result); });
  if (!results) return fail(results.error(), flags.run.json);

  int64_t counts[3] = {};
  nlohmann::ordered_json cases = nlohmann::ordered_json::array();
  for (const VerifyResult& result : *results) {
    ++counts[static_cast<size_t>(result.verdict)];
    cases.push_back({{"stage", result.stage},
                     {"name", result.name},
                     {"error", result.error},
                     {"tolerance", result.tolerance},
                     {"verdict", verdict_name(result.verdict)},
                     {"detail", result.detail}});
  }
  const int64_t passed = counts[static_cast<size_t>(Verdict::kPass)];
  const int64_t failed = counts[static_cast<size_t>(Verdict::kFail)];
  const int64_t skipped = counts[static_cast<size_t>(Verdict::kSkipped)];
  // Nothing compared is nothing verified.
  const bool good = failed == 0 && passed > 0;
  print(stream, "{} passed, {} failed, {} skipped\n", passed, failed, skipped);
  if (passed + failed == 0) print_error(fmt::format("{}: no case was compared", flags.folder));
  if (flags.run.json) {
    print_json({{"status", good ? "ok" : "failed"},
                {"precision", flags.run.precision},
                {"passed", passed},
                {"failed", failed},
                {"skipped", skipped},
                {"cases", cases}});
  }
  return good ? kExitOk : kExitFailure;
}

}  // namespace

void add_verify(CLI::App& app, Action& action) {
  auto flags = std::make_shared<VerifyFlags>();
  CLI::App* command = app.add_subcommand("verify", "Compare the engine with reference tensors");
  command
      ->add_option("folder", flags->folder,
                   "Folder with cases/ and their checkpoints, or with checkpoints of other formats "
                   "and their expected.safetensors")
      ->required()
      ->type_name("DIR");
  add_part_flags(*command, flags->parts);
  command
      ->add_option("--tensors-out", flags->tensors_out,
                   "Folder for what was computed, as <case>.<tensor>.f32")
      ->type_name("DIR");
  add_run_flags(*command, flags->run);
  command->footer(
      "Prints a line per case: verdict, stage, case, relative error, tolerance. Exit code 1 if any "
      "fails.\n"
      "Examples:\n"
      "  intaglio verify tests/reference/data\n"
      "  intaglio verify tests/formats\n"
      "  intaglio verify tests/reference/data --precision int8 --json");
  command->callback([flags, &action] { action = [flags] { return run_verify(*flags); }; });
}

}  // namespace intaglio::cli
