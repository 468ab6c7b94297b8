// Flags that several subcommands share, and the readings of their values.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"
#include "models/attention_choice.h"
#include "models/model.h"
#include "models/parts/selection.h"
#include "pipeline/device.h"

namespace CLI {
class App;
}

namespace intaglio::cli {

struct RunFlags {
  std::string precision = "int8";
  std::vector<std::string> keep_bf16;  // patterns of linears that stay bf16
  std::string device = "auto";
  int threads = 0;  // 0: as many as the process may use
  bool json = false;
};

enum class AutoPrecision { kNo, kOffered };  // whether "auto" is among the choices
void add_precision_flag(CLI::App& command, std::string& precision,
                        AutoPrecision automatic = AutoPrecision::kNo);
// All of RunFlags.
void add_run_flags(CLI::App& command, RunFlags& flags,
                   AutoPrecision automatic = AutoPrecision::kNo);

// --devices: one or two GPUs, in place of --device.
void add_devices_flag(CLI::App& command, std::optional<std::string>& devices);
// --parallel: what several GPUs of --devices do of a step.
void add_parallel_flag(CLI::App& command, std::string& parallel);
// Of --device, --devices and --parallel; kInvalidArgument where both of the first are given, and
// where the last has no GPUs to share passes.
Expected<DeviceChoice> parse_devices(const std::string& device,
                                     const std::optional<std::string>& devices,
                                     const std::string& parallel);

// "cuda" or "cuda:N"; kInvalidArgument otherwise.
Expected<int> parse_cuda_device(const std::string& text);
// "auto" (the first GPU, else the CPU), "cpu" (nullopt), "cuda", "cuda:N".
Expected<std::optional<int>> parse_device(const std::string& text);

struct PictureSize {
  int64_t width = 0, height = 0;
};
// "WxH" in pixels, each in [1, 16384]; kInvalidArgument names the flag otherwise.
Expected<PictureSize> parse_size(const std::string& text, std::string_view flag = "--size");
// kInvalidArgument unless both sides are multiples of `unit` pixels.
Status check_size(const PictureSize& size, int64_t unit);

// "8G", "512M": more than 0 bytes. kInvalidArgument names `flag`.
Expected<uint64_t> parse_memory(std::string_view flag, const std::string& text);

// --attention, one of parse_attention's names.
void add_attention_flag(CLI::App& command, std::string& attention);
// The names of --attention: "auto" (the model decides), "float", "int8", and "int8-values", which is
// int8 with int8 values too.
Expected<AttentionChoice> parse_attention(std::string_view text);

// A new seed at every call.
uint64_t random_seed();
// A whole number that fits 64 bits; -1: a random one.
Expected<uint64_t> parse_seed(const std::string& text);

}  // namespace intaglio::cli
