// `intaglio bench linear`: every implementation of a linear layer and oneDNN, checked, then timed
// in interleaved rounds.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>

#include "argument_values.h"
#include "bench/bench.h"
#include "bench/bench_linear_case.h"
#include "bench/bench_memory.h"
#include "bench/cuda/bench_linear_cuda.h"
#include "command.h"
#include "console.h"
#include "interrupt.h"
#include "io/printable.h"
#include "options.h"
#include "pipeline/pipeline.h"
#include "run_files.h"
#include "shape_file.h"

namespace intaglio::cli {
namespace {

struct LinearFlags {
  int64_t m = 4096, n = 4608, k = 4608;
  int rounds = 7;
  int threads = 0;
  std::string shapes, json, precisions, device = "auto";
  bool protocol = false;
};

bool has_card() {
#if defined(INTAGLIO_HAS_CUDA)
  return cuda_device_present();
#else
  return false;
#endif
}

Expected<bool> run_on_card(const CudaLinearFlags& flags, const std::vector<LinearShape>& shapes) {
#if defined(INTAGLIO_HAS_CUDA)
  return run_linear_cuda(flags, shapes);
#else
  return make_error(ErrorCode::kUnsupported,
                    "cuda:{}: this build has no CUDA; --device cpu runs on the CPU", flags.ordinal);
#endif
}

// The GPU to run on; -1: the CPU.
Expected<int> device_of(const std::string& text) {
  if (text == "cpu") return -1;
  if (text == "auto") return has_card() ? 0 : -1;
  if (!text.starts_with("cuda")) {
    return make_error(ErrorCode::kInvalidArgument,
                      "--device: expected auto, cpu, cuda or cuda:N, found \"{}\"",
                      printable(text, 60));
  }
  return parse_cuda_device(text);
}

nlohmann::ordered_json candidate_json(const Candidate& candidate, double operations) {
  nlohmann::ordered_json json{{"name", candidate.name},
                              {"error", candidate.error},
                              {"tolerance", candidate.tolerance},
                              {"correct", candidate.error <= candidate.tolerance}};
  if (!candidate.times_ms.empty()) {
    const Spread spread = spread_of(candidate.times_ms);
    json["median_ms"] = spread.median;
    json["min_ms"] = spread.min;
    json["max_ms"] = spread.max;
    json["gop_per_s"] = operations / spread.median * 1e-6;
    json["times_ms"] = candidate.times_ms;
  }
  json.update(candidate.extra);
  return json;
}

// Inputs in bf16 and int8, and of every implementation a packed copy of the weights and an output;
// all stay until the shape is done.
Status check_memory_of(const Context& context, const LinearShape& s,
                       const std::vector<std::string>& precisions) {
  constexpr uint64_t kImplementations = 4;  // of one precision, at most
  const auto inputs = static_cast<uint64_t>(s.m * s.k + s.n * s.k);
  const uint64_t each = static_cast<uint64_t>(s.n * s.k) * 2 + static_cast<uint64_t>(s.m * s.n) * 4;
  const bool with_f32 = std::find(precisions.begin(), precisions.end(), "fp32") != precisions.end();
  return check_memory(context, fmt::format("m {}, n {}, k {}", s.m, s.n, s.k),
                      inputs * (with_f32 ? 7 : 3) + each * kImplementations * precisions.size());
}

// Checks, times and prints one shape; its JSON joins `results`. False if a candidate was wrong.
Expected<bool> run_shape(const LinearFlags& flags, Context& context, const LinearShape& shape,
                         const std::vector<std::string>& precisions, Stream out,
                         nlohmann::ordered_json& results) {
  Arena arena;
  context.scratch = &arena;
  const bool with_f32 = std::find(precisions.begin(), precisions.end(), "fp32") != precisions.end();
  INTAGLIO_ASSIGN(const auto data, make_linear_data(context, shape, with_f32));
  std::vector<std::string> skipped;
  INTAGLIO_ASSIGN(std::vector<Candidate> all,
                  linear_candidates(context, arena, data, precisions, skipped));
  std::vector<Candidate> right, wrong;
  for (Candidate& candidate : all) {
    // Written so that a NaN counts as wrong.
    (candidate.error <= candidate.tolerance ? right : wrong).push_back(std::move(candidate));
  }
  INTAGLIO_TRY(run_interleaved(right, flags.rounds));

  const double operations = 2.0 * static_cast<double>(shape.m) * static_cast<double>(shape.n) *
                            static_cast<double>(shape.k);
  print(out, "{}{}m {}, n {}, k {}: {:.1f} G operations\n", shape.name,
        shape.name.empty() ? "" : ": ", shape.m, shape.n, shape.k, operations * 1e-9);
  print(out, "  {:<28} {:>10} {:>22} {:>10} {:>10}\n", "implementation", "median ms", "min .. max",
        "GOP/s", "error");
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const Candidate& candidate : right) {
    const Spread spread = spread_of(candidate.times_ms);
    print(out, "  {:<28} {:>10.3f} {:>22} {:>10.1f} {:>10.1e}\n", candidate.name, spread.median,
          fmt::format("{:.3f} .. {:.3f}", spread.min, spread.max),
          operations / spread.median * 1e-6, candidate.error);
    list.push_back(candidate_json(candidate, operations));
  }
  for (const Candidate& candidate : wrong) {
    print_error(fmt::format("{}: wrong result, error {:.3g}, tolerance {:.3g}; not timed",
                            candidate.name, candidate.error, candidate.tolerance));
    list.push_back(candidate_json(candidate, operations));
  }
  for (const std::string& text : skipped) print(out, "  not run: {}\n", text);
  results.push_back({{"name", shape.name},
                     {"m", shape.m},
                     {"n", shape.n},
                     {"k", shape.k},
                     {"implementations", list},
                     {"not_run", skipped}});
  return wrong.empty();
}

Expected<bool> run_linear(const LinearFlags& flags) {
  INTAGLIO_TRY(
      check_files({.outputs = {{"--json", flags.json}}, .inputs = {{"--shapes", flags.shapes}}}));
  INTAGLIO_ASSIGN(const int ordinal, device_of(flags.device));
  const bool on_cpu = ordinal < 0;
  const std::vector<std::string> known =
      on_cpu ? std::vector<std::string>{"fp32", "bf16", "int8", "int8-dequant"}
             : cuda_linear_precisions();
  std::vector<std::string> precisions = known;
  if (!flags.precisions.empty()) {
    INTAGLIO_ASSIGN(precisions, parse_precisions(flags.precisions, known));
  } else if (on_cpu) {
    precisions = {"int8", "bf16", "int8-dequant"};
  }
  std::vector<LinearShape> shapes{{"", flags.m, flags.n, flags.k}};
  if (!flags.shapes.empty()) {
    INTAGLIO_ASSIGN(const std::vector<ShapeLine> lines, read_shape_file(flags.shapes));
    shapes.clear();
    for (const ShapeLine& line : lines) {
      shapes.push_back({line.name, line.shape.m, line.shape.n, line.shape.k});
    }
  }
  for (const LinearShape& s : shapes) INTAGLIO_TRY(check_shape({s.m, s.n, s.k}, "shape"));
  if (!on_cpu) {
    if (flags.protocol) precisions = {"int8-convrot", "bf16"};
    return run_on_card({.ordinal = ordinal,
                        .rounds = flags.rounds,
                        .precisions = precisions,
                        .json = flags.json,
                        .protocol = flags.protocol},
                       shapes);
  }
  if (flags.protocol)
    return make_error(ErrorCode::kInvalidArgument, "--protocol: is a GPU's, found --device cpu");
  INTAGLIO_ASSIGN(Context context, host_context(flags.threads));
  context.cancel = &interrupted;
  for (const LinearShape& s : shapes) INTAGLIO_TRY(check_memory_of(context, s, precisions));
  Stream out = flags.json == "-" ? Stream::kErr : Stream::kOut;
  print(out, "{}, {}, {} threads, {} rounds\n", context.cpu.brand, cpu_isa_name(context.cpu.isa),
        context.threads, flags.rounds);
  nlohmann::ordered_json results = nlohmann::ordered_json::array();
  bool correct = true;
  for (const LinearShape& shape : shapes) {
    INTAGLIO_ASSIGN(const bool good, run_shape(flags, context, shape, precisions, out, results));
    correct = correct && good;
  }
  if (!flags.json.empty()) {
    INTAGLIO_TRY(write_result(flags.json, {{"benchmark", "linear"},
                                           {"machine", machine_json(context)},
                                           {"rounds", flags.rounds},
                                           {"correct", correct},
                                           {"shapes", results}}));
  }
  return correct;
}

}  // namespace

void add_bench_linear(CLI::App& bench, Action& action) {
  auto flags = std::make_shared<LinearFlags>();
  CLI::App* command = bench.add_subcommand(
      "linear", "Every implementation of a linear layer, and oneDNN or cuBLASLt");
  limit(command->add_option("--m", flags->m, "Rows: tokens"), 1, 1 << 20)->capture_default_str();
  limit(command->add_option("--n", flags->n, "Columns of the output"), 1, 1 << 20)
      ->capture_default_str();
  limit(command->add_option("--k", flags->k, "Columns of the input"), 1, 130000)
      ->capture_default_str();
  command->add_option("--shapes", flags->shapes, "Lines of \"[name] m n k\" instead of --m --n --k")
      ->type_name("FILE")
      ->excludes("--m", "--n", "--k");
  command
      ->add_option(
          "--precision", flags->precisions,
          "What to time, of fp32, bf16, int8, int8-dequant (by default the last three); on a "
          "GPU of int8, int8-convrot, bf16, fp8, int8-dequant, nf4, q8_0 (by default all)")
      ->type_name("P[,P...]");
  command
      ->add_option("--device", flags->device, "auto (a GPU if there is one), cpu, cuda or cuda:N")
      ->type_name("DEVICE")
      ->capture_default_str();
  limit(command->add_option("--rounds", flags->rounds, "Timed rounds"), 1, 1000)
      ->capture_default_str();
  command->add_flag("--protocol", flags->protocol,
                    "Time the linear of turned rows (ConvRot: rotation, quantization, product, "
                    "scales) against bf16's product and print the geometric mean over --shapes; "
                    "on a GPU");
  add_threads_flag(*command, flags->threads);
  command->add_option("--json", flags->json, "Write the result as JSON to a file; - for stdout")
      ->type_name("FILE|-");
  command->footer(
      "Each implementation is checked against exact sums of four rows before it is timed; a wrong "
      "one fails the run.\n"
      "Reference implementations run up to 1 G operations. Rounds are interleaved; the median and "
      "the range are shown.\n"
      "On a GPU our product is compared with the reference kernel, every output; each other with x "
      "w^T on some rows. \"linear int8\" quantizes its input, \"gemm int8\" has it quantized.\n"
      "Examples:\n"
      "  intaglio bench linear --m 4096 --n 13824 --k 4608\n"
      "  intaglio bench linear --device cuda --shapes bench/shapes/ideogram4.txt\n"
      "  intaglio bench linear --shapes bench/shapes/flux2.txt --json linear.json");
  command->callback([flags, &action] {
    action = [flags] {
      const Expected<bool> correct = run_linear(*flags);
      return !correct ? fail(correct.error(), false) : *correct ? kExitOk : kExitFailure;
    };
  });
}

}  // namespace intaglio::cli
