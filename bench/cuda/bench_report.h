// What a GPU benchmark leaves behind: its results and the machine they come from, as JSON.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "device_bench.cuh"

namespace intaglio::bench {

inline double tera_per_second(double m, double n, double k, double ms) {
  return 2.0 * m * n * k / (ms * 1e9);
}

inline std::string json_string(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    if (static_cast<unsigned char>(c) >= 0x20) out += c;
  }
  return out + '"';
}

// What nvidia-smi answers to `query` for the current device, its fields one by one; empty if there
// is no nvidia-smi.
inline std::vector<std::string> ask_nvidia_smi(const std::string& query) {
  char bus[32] = "";
  int device = 0;
  require(cudaGetDevice(&device), "cudaGetDevice");
  require(cudaDeviceGetPCIBusId(bus, sizeof(bus), device), "cudaDeviceGetPCIBusId");
  const std::string command = "nvidia-smi -i " + std::string(bus) + " --query-gpu=" + query +
                              " --format=csv,noheader,nounits 2>/dev/null";
  std::FILE* pipe = popen(command.c_str(), "r");
  if (pipe == nullptr) return {};
  char line[512] = "";
  const bool any = std::fgets(line, sizeof(line), pipe) != nullptr;
  if (pclose(pipe) != 0 || !any) return {};
  std::vector<std::string> fields(1);
  for (const char* c = line; *c != '\0' && *c != '\n'; ++c) {
    if (*c == ',') {
      fields.emplace_back();
    } else if (*c != ' ' || !fields.back().empty()) {
      fields.back() += *c;
    }
  }
  return fields;
}

inline std::string json_number(const std::string& text) {
  char* end = nullptr;
  std::strtod(text.c_str(), &end);
  return text.empty() || text[0] < '0' || text[0] > '9' || *end != '\0' ? "null" : text;
}

// Collects results. write() may be called again and again, so that a run cut short leaves what it
// had.
class Results {
 public:
  // No file if `path` is null.
  Results(const char* path, int argc, char** argv) : path_(path) {
    for (int i = 0; i < argc; ++i) command_.append(i == 0 ? "" : " ").append(argv[i]);
    cudaDeviceProp device{};
    int id = 0, driver = 0;
    require(cudaGetDevice(&id), "cudaGetDevice");
    require(cudaGetDeviceProperties(&device, id), "device");
    require(cudaDriverGetVersion(&driver), "driver");
    machine_ = "\"name\": " + json_string(device.name) +
               ", \"sms\": " + std::to_string(device.multiProcessorCount) +
               ", \"driver_cuda\": " + std::to_string(driver);
    const auto fields = ask_nvidia_smi("driver_version,power.limit");
    if (fields.size() == 2) {
      machine_ += ", \"driver\": " + json_string(fields[0]) +
                  ", \"power_limit_w\": " + json_number(fields[1]);
    }
  }

  // The clock of the multiprocessors and the power right now, printed and kept. Nothing if there is
  // no nvidia-smi.
  void sample(const std::string& when) {
    const auto fields = ask_nvidia_smi("clocks.sm,power.draw,temperature.gpu");
    if (fields.size() != 3) return;
    std::printf("%s: %s MHz, %s W, %s C\n", when.c_str(), fields[0].c_str(), fields[1].c_str(),
                fields[2].c_str());
    samples_.push_back("{\"when\": " + json_string(when) + ", \"sm_mhz\": " +
                       json_number(fields[0]) + ", \"power_w\": " + json_number(fields[1]) +
                       ", \"celsius\": " + json_number(fields[2]) + "}");
  }

  void set_checks(int checked, int failed) {
    checks_ = "\"checked\": " + std::to_string(checked) +
              ", \"failed\": " + std::to_string(failed) + ",\n";
  }

  void add(const char* shape, int m, int n, int k, const std::string& candidate, const Times& t) {
    char numbers[256];
    std::snprintf(numbers, sizeof(numbers),
                  "\"median_ms\": %.5f, \"min_ms\": %.5f, \"max_ms\": %.5f, \"tops\": %.1f",
                  t.median_ms, t.min_ms, t.max_ms, tera_per_second(m, n, k, t.median_ms));
    lines_.push_back("{\"shape\": " + json_string(shape) + ", \"m\": " + std::to_string(m) +
                     ", \"n\": " + std::to_string(n) + ", \"k\": " + std::to_string(k) +
                     ", \"candidate\": " + json_string(candidate) + ", " + numbers + "}");
  }

  void write() const {
    if (path_ == nullptr) return;
    std::FILE* file = std::fopen(path_, "w");
    if (file == nullptr) {
      std::fprintf(stderr, "cannot write %s\n", path_);
      return;
    }
    std::fprintf(file,
                 "{\"machine\": {%s, \"samples\": [%s]},\n\"command\": %s,\n%s\"results\": [%s]}\n",
                 machine_.c_str(), joined(samples_).c_str(), json_string(command_).c_str(),
                 checks_.c_str(), joined(lines_).c_str());
    std::fclose(file);
  }

 private:
  static std::string joined(const std::vector<std::string>& lines) {
    std::string all;
    for (size_t i = 0; i < lines.size(); ++i) all.append(i == 0 ? "\n" : ",\n").append(lines[i]);
    return all;
  }

  const char* path_;
  std::string command_, machine_, checks_;
  std::vector<std::string> samples_, lines_;
};

}  // namespace intaglio::bench
