// One shape of `intaglio bench linear --device cuda`: operands on the device, our product and the
// baselines on the same values, each checked.
//
// x [m, k] and w [n, k] are normal, in bf16; every candidate takes them in its own format, made
// beforehand: only "linear int8" quantizes x in the timed span, only the "-dequant" ones write
// their weights out as bf16 in it. Rows are padded with zeros to multiples of 16 values.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "bench/bench_linear_case.h"
#include "core/cuda_device.h"
#include "device_timing.h"

namespace intaglio::cli {

enum class LinearUnit { kInt8, kFp8, kBf16 };

struct CudaLinearCandidate {
  DeviceCandidate timed;
  LinearUnit unit = LinearUnit::kInt8;  // that multiplies
  double error = 0, tolerance = 0;      // ||out - x w^T|| / ||x w^T|| of sampled rows
  nlohmann::ordered_json extra = nlohmann::ordered_json::object();
};

// What our whole product against int8 operands is called: the yardstick of the table.
inline constexpr const char* kOurGemm = "gemm int8";
inline constexpr const char* kOurTurnedLinear = "linear int8 convrot256";

class CudaLinearCase {
 public:
  // Device memory that the case takes, baselines included.
  static Expected<int64_t> bytes_needed(const CudaDevice& device, const LinearShape& shape);

  // Runs on the current device. Errors: what our own kernels or the device report. A baseline that
  // cannot run is in not_run().
  static Expected<std::unique_ptr<CudaLinearCase>> make(const CudaDevice& device,
                                                        const LinearShape& shape,
                                                        const std::vector<std::string>& precisions);
  virtual ~CudaLinearCase() = default;

  std::vector<CudaLinearCandidate> candidates;
  std::vector<std::string> not_run;  // "cublaslt fp8 rowwise: why"
  std::vector<std::string> wrong;    // "gemm int8: what differs"
};

}  // namespace intaglio::cli
