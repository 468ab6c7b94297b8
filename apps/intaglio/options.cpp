#include "options.h"

#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <random>

#include "argument_values.h"
#include "core/memory_info.h"
#include "io/printable.h"
#include "models/parts/selection.h"

namespace intaglio::cli {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMaxSide = 16384;

template <typename T>
bool parse_number(std::string_view text, T& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size();
}

}  // namespace

void add_precision_flag(CLI::App& command, std::string& precision, AutoPrecision automatic) {
  std::vector<std::string> names(precision_names().begin(), precision_names().end());
  std::string text =
      "Arithmetic of the large linears; fp8 needs a GPU of compute capability 8.9 or newer, nf4 a "
      "GPU";
  if (automatic == AutoPrecision::kOffered) {
    names.emplace_back("auto");
    text += "; auto takes the fastest that fits, as `intaglio map` measured it or as modelled";
  }
  text += fmt::format("; one of {}", fmt::join(names, ", "));
  choose_from(command.add_option("--precision", precision, text), names)->capture_default_str();
}

void add_run_flags(CLI::App& command, RunFlags& flags, AutoPrecision automatic) {
  add_precision_flag(command, flags.precision, automatic);
  command
      .add_option("--keep-bf16", flags.keep_bf16,
                  "Linears that stay bf16 at int8, int8-dequant, fp8 and nf4: names with * for any "
                  "characters, e.g. 'layers.*.feed_forward.w2'; several by commas")
      ->delimiter(',')
      ->type_name("PATTERN");
  command
      .add_option("--device", flags.device,
                  "Where to compute: cpu, cuda, cuda:N, or auto, the first GPU if there is one")
      ->type_name("DEVICE")
      ->capture_default_str();
  add_threads_flag(command, flags.threads);
  command.add_flag("--json", flags.json, "Print one JSON result on stdout");
}

void add_devices_flag(CLI::App& command, std::optional<std::string>& devices) {
  command
      .add_option(
          "--devices", devices,
          "GPUs that share each step. Two, such as 0,1: the second pass runs on the second, which "
          "has that pass's weights. More, or otherwise: see --parallel. One GPU: as --device")
      ->type_name("N[,N...]");
}

void add_parallel_flag(CLI::App& command, std::string& parallel) {
  choose_from(command.add_option(
                  "--parallel", parallel,
                  "What the GPUs of --devices do: off, a pass of each step each; ulysses, each a "
                  "part of the rows of every pass, on up to 8 GPUs that have all weights each; "
                  "cfg+ulysses, half of 4, 6 or 8 GPUs each share one pass; auto, of these what "
                  "should be faster"),
              {"off", "ulysses", "cfg+ulysses", "auto"})
      ->capture_default_str();
}

Expected<DeviceChoice> parse_devices(const std::string& device,
                                     const std::optional<std::string>& devices,
                                     const std::string& parallel) {
  INTAGLIO_ASSIGN(const Parallel kind, parallel_from_name("--parallel", parallel));
  if (!devices) {
    if (kind != Parallel::kOff)
      return make_error(ErrorCode::kInvalidArgument,
                        "--parallel {}: expected {} of --devices, such as {}", parallel,
                        kind == Parallel::kCfgUlysses ? "4, 6 or 8 GPUs" : "two GPUs or more",
                        kind == Parallel::kCfgUlysses ? "0,1,2,3" : "0,1");
    INTAGLIO_ASSIGN(const std::optional<int> gpu, parse_device(device));
    return DeviceChoice{.gpu = gpu, .second_gpu = {}};
  }
  if (device != RunFlags().device)
    return make_error(ErrorCode::kInvalidArgument,
                      "--devices: cannot be given together with --device {}",
                      printable(device, 60));
  return devices_from_names("--devices", *devices, kind);
}

Expected<int> parse_cuda_device(const std::string& text) {
  if (const std::optional<int> ordinal = cuda_ordinal(text)) return *ordinal;
  return make_error(ErrorCode::kInvalidArgument, "--device: expected cuda or cuda:N, found \"{}\"",
                    printable(text, 60));
}

Expected<std::optional<int>> parse_device(const std::string& text) {
  return device_from_name("--device", text);
}

Expected<PictureSize> parse_size(const std::string& text, std::string_view flag) {
  PictureSize size;
  const size_t x = text.find_first_of("xX");
  if (x == std::string::npos || !parse_number(std::string_view(text).substr(0, x), size.width) ||
      !parse_number(std::string_view(text).substr(x + 1), size.height)) {
    return make_error(ErrorCode::kInvalidArgument,
                      "{}: expected WIDTHxHEIGHT in pixels, e.g. 1024x768, found \"{}\"", flag,
                      printable(text, 60));
  }
  for (const int64_t side : {size.width, size.height}) {
    if (side < 1 || side > kMaxSide) {
      return make_error(ErrorCode::kInvalidArgument,
                        "{}: sides must be between 1 and {} pixels, found {}x{}", flag, kMaxSide,
                        size.width, size.height);
    }
  }
  return size;
}

Status check_size(const PictureSize& size, int64_t unit) {
  if (size.width % unit == 0 && size.height % unit == 0) return {};
  return make_error(ErrorCode::kInvalidArgument,
                    "--size: sides must be multiples of {} pixels, found {}x{}", unit, size.width,
                    size.height);
}

Expected<uint64_t> parse_memory(std::string_view flag, const std::string& text) {
  const std::optional<uint64_t> bytes = parse_bytes(text);
  if (bytes && *bytes > 0) return *bytes;
  return make_error(ErrorCode::kInvalidArgument,
                    "{}: expected a size such as 8G or 512M, found \"{}\"", flag,
                    printable(text, 60));
}

void add_attention_flag(CLI::App& command, std::string& attention) {
  command
      .add_option("--attention", attention,
                  "Products of attention: float; int8, the scores; int8-values, the scores and the "
                  "sum over the values, which costs accuracy; auto, int8 where the precision is "
                  "int8 and the GPU has kernels for it")
      ->type_name("KIND")
      ->capture_default_str();
}

Expected<AttentionChoice> parse_attention(std::string_view text) {
  if (text == "auto") return AttentionChoice{};
  if (text == "float") return AttentionChoice{.scores = AttentionScores::kFloat};
  if (text == "int8") return AttentionChoice{.scores = AttentionScores::kS8};
  if (text == "int8-values")
    return AttentionChoice{.scores = AttentionScores::kS8, .values = AttentionValues::kS8};
  return make_error(ErrorCode::kInvalidArgument,
                    "--attention: expected auto, float, int8 or int8-values, found \"{}\"",
                    printable(text, 60));
}

uint64_t random_seed() { return std::random_device{}(); }

Expected<uint64_t> parse_seed(const std::string& text) {
  uint64_t seed = 0;
  if (text == "-1") return random_seed();
  if (parse_number(text, seed)) return seed;
  return make_error(
      ErrorCode::kInvalidArgument,
      "--seed: expected a whole number from 0 to 2^64 - 1, or -1 for a random one, found \"{}\"",
      printable(text, 60));
}

}  // namespace intaglio::cli
