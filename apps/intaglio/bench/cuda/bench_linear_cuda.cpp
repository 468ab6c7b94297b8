// `intaglio bench linear --device cuda`: our int8 linear and the baselines of a GPU, checked, then
// timed in interleaved rounds.
#include "bench/cuda/bench_linear_cuda.h"

#include <cuda_runtime_api.h>
#include <fmt/chrono.h>

#include <algorithm>
#include <cmath>
#include <ctime>

#include "bench/bench.h"
#include "bench/linear_report.h"
#include "command.h"
#include "console.h"
#include "core/cuda/device.h"
#include "gpu_sensors.h"
#include "interrupt.h"
#include "linear_candidates.h"
#include "measured_peak.h"
#include "ops/cuda/library/cublaslt.h"
#include "ops/cuda/tuning/peak_rates.h"

namespace intaglio::cli {
namespace {

using cuda::device_status;

constexpr double kMiB = 1024.0 * 1024.0;

// What all shapes share.
struct Run {
  const CudaLinearFlags& flags;
  const CudaDevice& device;
  const GpuSensors& sensors;
  Stream out = Stream::kOut;
  cuda::PeakRates sheet{};
  double measured_int8 = 0;
  nlohmann::ordered_json samples = nlohmann::ordered_json::array();

  void sample(const std::string& when) {
    nlohmann::ordered_json taken = sensors.sample(when);
    if (taken.contains("sm_mhz") && taken.contains("power_w")) {
      print(out, "{}: {} MHz, {:.0f} W\n", when, taken["sm_mhz"].get<unsigned>(),
            taken["power_w"].get<double>());
    }
    samples.push_back(std::move(taken));
  }

  RateCeilings ceilings(LinearUnit unit) const {
    switch (unit) {
      case LinearUnit::kInt8:
        return {sheet.int8_tops, measured_int8};
      case LinearUnit::kFp8:
        return {sheet.fp8_tops, 0};
      case LinearUnit::kBf16:
        return {sheet.bf16_tops, 0};
    }
    return {};
  }
};

nlohmann::ordered_json gpu_json(const Run& run) {
  const CudaDevice& device = run.device;
  nlohmann::ordered_json json{
      {"version", INTAGLIO_VERSION},
      {"gpu", device.name},
      {"compute_capability", device.compute_capability},
      {"multiprocessors", device.multiprocessors},
      {"driver_cuda", device.driver_version},
      {"date", fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::time(nullptr)))}};
  json.update(run.sensors.card());
  std::string problem;
  const std::string version = cuda::cublaslt_version(problem);
  json["cublaslt"] = version.empty() ? problem : version;
  return json;
}

std::string title(const LinearShape& shape) {
  return fmt::format("{}{}m {}, n {}, k {}", shape.name, shape.name.empty() ? "" : ": ", shape.m,
                     shape.n, shape.k);
}

// Empty if the shape fits into the device's free memory, else why it does not.
Expected<std::string> too_large(const Run& run, const LinearShape& shape) {
  INTAGLIO_ASSIGN(const int64_t needed, CudaLinearCase::bytes_needed(run.device, shape));
  size_t free = 0, total = 0;
  INTAGLIO_TRY(device_status(cudaMemGetInfo(&free, &total), "cudaMemGetInfo"));
  if (needed <= static_cast<int64_t>(free)) return std::string();
  return fmt::format("it needs {:.0f} MiB of device memory, {:.0f} are free",
                     static_cast<double>(needed) / kMiB, static_cast<double>(free) / kMiB);
}

// Checks, times and prints one shape; its JSON joins `results`. False if a candidate was wrong.
Expected<bool> run_shape(Run& run, const LinearShape& shape, nlohmann::ordered_json& results) {
  const double operations = 2.0 * static_cast<double>(shape.m) * static_cast<double>(shape.n) *
                            static_cast<double>(shape.k);
  print(run.out, "{}: {:.1f} G operations\n", title(shape), operations * 1e-9);
  nlohmann::ordered_json json{{"name", shape.name}, {"m", shape.m}, {"n", shape.n}, {"k", shape.k}};
  json["implementations"] = nlohmann::ordered_json::array();
  INTAGLIO_ASSIGN(const std::string reason, too_large(run, shape));
  if (!reason.empty()) {
    print(run.out, "  not run: {}\n", reason);
    json["not_run"] = {reason};
    results.push_back(std::move(json));
    return true;
  }
  INTAGLIO_ASSIGN(const auto linear, CudaLinearCase::make(run.device, shape, run.flags.precisions));
  std::vector<DeviceCandidate> timed;
  for (const CudaLinearCandidate& candidate : linear->candidates) timed.push_back(candidate.timed);
  INTAGLIO_TRY(time_interleaved(timed, run.flags.rounds));
  run.sample("after " + title(shape));
  std::vector<LinearRow> rows;
  for (size_t i = 0; i < timed.size(); ++i) {
    const CudaLinearCandidate& candidate = linear->candidates[i];
    rows.push_back({.name = timed[i].name,
                    .operations = operations,
                    .times_ms = timed[i].times_ms,
                    .ceilings = run.ceilings(candidate.unit),
                    .error = candidate.error,
                    .tolerance = candidate.tolerance,
                    .extra = candidate.extra});
  }
  if (!rows.empty()) {
    for (const std::string& line : table_lines(rows, kOurGemm)) print(run.out, "{}\n", line);
  }
  for (const LinearRow& row : rows)
    json["implementations"].push_back(row_json(row, rows, kOurGemm));
  for (const std::string& text : linear->not_run) print(run.out, "  not run: {}\n", text);
  for (const std::string& text : linear->wrong) print_error(text + "; not timed");
  json["not_run"] = linear->not_run;
  json["wrong"] = linear->wrong;
  results.push_back(std::move(json));
  return linear->wrong.empty();
}

// How many times as fast as cuBLASLt's bf16 product our whole linear of turned rows is: rotation,
// quantization, product and scales against the product alone, geometric mean over the shapes that
// both ran. The protocol of SGLang's ConvRot linears.
nlohmann::ordered_json protocol_json(const nlohmann::ordered_json& shapes) {
  double logs = 0.0;
  int count = 0;
  for (const nlohmann::ordered_json& shape : shapes) {
    double ours = 0.0, theirs = 0.0;
    if (!shape.contains("implementations")) continue;
    for (const nlohmann::ordered_json& row : shape["implementations"]) {
      const std::string name = row["name"].get<std::string>();
      if (!row.contains("median_ms")) continue;
      const double ms = row["median_ms"].get<double>();
      if (name == kOurTurnedLinear) ours = ms;
      if (name == "cublaslt bf16") theirs = ms;
    }
    if (ours <= 0.0 || theirs <= 0.0) continue;
    logs += std::log(theirs / ours);
    ++count;
  }
  if (count == 0) return nullptr;
  return {{"shapes", count}, {"times_bf16", std::exp(logs / count)}};
}

nlohmann::ordered_json peaks_json(const Run& run, const MeasuredPeaks& measured) {
  nlohmann::ordered_json json;
  json[run.sheet.data_sheet ? "data_sheet" : "by_clock"] = {{"int8_tops", run.sheet.int8_tops},
                                                            {"fp8_tops", run.sheet.fp8_tops},
                                                            {"bf16_tops", run.sheet.bf16_tops}};
  json["measured"] = {{"mma_s8_tops", measured.mma_tops},
                      {"mma_s8_times_ms", measured.mma_times_ms},
                      {"wgmma_s8_tops", measured.wgmma_tops},
                      {"wgmma_s8_times_ms", measured.wgmma_times_ms},
                      {"not_run", measured.not_run}};
  return json;
}

}  // namespace

bool cuda_device_present() { return cuda::find_device(0).has_value(); }

Expected<bool> run_linear_cuda(const CudaLinearFlags& flags,
                               const std::vector<LinearShape>& shapes) {
  INTAGLIO_ASSIGN(const CudaDevice* const device, cuda::find_device(flags.ordinal));
  INTAGLIO_TRY(device_status(cudaSetDevice(flags.ordinal), "cudaSetDevice"));
  const GpuSensors sensors(flags.ordinal);
  Run run{.flags = flags, .device = *device, .sensors = sensors};
  if (flags.json == "-") run.out = Stream::kErr;
  const nlohmann::ordered_json machine = gpu_json(run);
  print(run.out, "{}, {} multiprocessors, cuBLASLt {}, {} rounds\n", device->name,
        device->multiprocessors, machine["cublaslt"].get<std::string>(), flags.rounds);
  bool any = false;
  for (const LinearShape& shape : shapes) {
    INTAGLIO_ASSIGN(const std::string reason, too_large(run, shape));
    any = any || reason.empty();
    if (!reason.empty() && shapes.size() == 1)
      return make_error(ErrorCode::kOutOfMemory, "{}: {}", title(shape), reason);
  }
  if (!any)
    return make_error(ErrorCode::kOutOfMemory, "no shape fits into the memory of {}", device->name);

  run.sample("before");
  int clock_khz = 0;
  INTAGLIO_TRY(device_status(
      cudaDeviceGetAttribute(&clock_khz, cudaDevAttrClockRate, flags.ordinal), "clock rate"));
  run.sheet = cuda::peak_rates(*device, clock_khz * 1e-6);
  INTAGLIO_ASSIGN(const MeasuredPeaks measured, measure_peaks(*device));
  run.measured_int8 = measured.best();
  run.sample("after the peaks");
  print(run.out, "int8 at most {:.0f} TOP/s by {}; measured {:.0f} by mma.sync, {:.0f} by wgmma\n",
        run.sheet.int8_tops, run.sheet.data_sheet ? "the data sheet" : "clock and size",
        measured.mma_tops, measured.wgmma_tops);
  for (const std::string& text : measured.not_run) print(run.out, "not run: {}\n", text);

  nlohmann::ordered_json results = nlohmann::ordered_json::array();
  bool correct = true;
  for (const LinearShape& shape : shapes) {
    if (interrupted) return make_error(ErrorCode::kCancelled, "cancelled");
    INTAGLIO_ASSIGN(const bool good, run_shape(run, shape, results));
    correct = correct && good;
    // A run that is cut short leaves what it had.
    if (!flags.json.empty() && (flags.json != "-" || &shape == &shapes.back())) {
      nlohmann::ordered_json result{
          {"benchmark", "linear"},  {"device", fmt::format("cuda:{}", flags.ordinal)},
          {"machine", machine},     {"peaks", peaks_json(run, measured)},
          {"rounds", flags.rounds}, {"correct", correct},
          {"samples", run.samples}, {"shapes", results}};
      if (flags.protocol) result["protocol"] = protocol_json(results);
      INTAGLIO_TRY(write_result(flags.json, result));
    }
  }
  if (flags.protocol) {
    const nlohmann::ordered_json mean = protocol_json(results);
    if (mean.is_null())
      return make_error(ErrorCode::kUnsupported, "--protocol: no shape ran in both precisions");
    print(run.out, "{} against bf16's product, geometric mean of {} shapes: {:.2f} times as fast\n",
          kOurTurnedLinear, mean["shapes"].get<int>(), mean["times_bf16"].get<double>());
  }
  return correct;
}

}  // namespace intaglio::cli
