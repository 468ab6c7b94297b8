#include "ops/cuda/tuning/tuning_device.h"

#include <cuda_runtime_api.h>

#include <algorithm>

#include "core/cuda/device.h"
#include "core/cuda/device_buffer.h"
#include "core/cuda/launch_timing.h"
#include "ops/cuda/launch/s8_gemm.h"
#include "ops/cuda/launch/s8_gemm_reference.h"

namespace intaglio::cuda {
namespace {

constexpr double kRoundMs =
    2.0;  // of launches between two events: the events' own grain is below 1e-3 of it
constexpr int kMostLaunches = 64;
constexpr int64_t kRowAlignment = 16;

int64_t output_bytes(DType type) { return type == DType::kBF16 || type == DType::kF16 ? 2 : 4; }

class CudaTuningDevice final : public TuningDevice {
 public:
  explicit CudaTuningDevice(const CudaDevice& device) : device_(device) {}

  const CudaDevice& device() const override { return device_; }
  bool has_config(const TileConfig& config) const override {
    return has_s8_gemm_config(config.family, config.name);
  }

  Status prepare(const S8GemmShape& shape) override {
    INTAGLIO_TRY(device_status(cudaSetDevice(device_.ordinal), "cudaSetDevice"));
    for (DeviceBuffer* buffer : {&a_, &w_, &row_, &column_, &bias_, &out_, &workspace_, &flush_})
      *buffer = DeviceBuffer();
    p_ = {};
    p_.m = static_cast<int32_t>(shape.m);
    p_.n = static_cast<int32_t>(shape.n);
    p_.k = static_cast<int32_t>(shape.k);
    p_.epilogue = shape.epilogue;
    p_.out_type = shape.out_type;
    p_.lda = p_.ldw = (shape.k + kRowAlignment - 1) / kRowAlignment * kRowAlignment;
    p_.ldo = out_columns(p_);
    const auto take = [&](DeviceBuffer& buffer, int64_t bytes) -> Status {
      INTAGLIO_ASSIGN(buffer, DeviceBuffer::allocate(static_cast<size_t>(bytes)));
      return {};
    };
    INTAGLIO_TRY(take(a_, shape.m * p_.lda));
    INTAGLIO_TRY(take(w_, shape.n * p_.ldw));
    INTAGLIO_TRY(take(row_, shape.m * 4));
    INTAGLIO_TRY(take(column_, shape.n * 4));
    INTAGLIO_TRY(take(bias_, shape.n * 4));
    INTAGLIO_TRY(take(out_, shape.m * p_.ldo * output_bytes(shape.out_type)));
    INTAGLIO_TRY(take(flush_, 2 * device_.l2_bytes));
    INTAGLIO_TRY(take(verdict_, sizeof(S8GemmVerdict)));
    p_.a = a_.as<int8_t>();
    p_.w = w_.as<int8_t>();
    p_.a_scale_row = row_.as<float>();
    p_.w_scale_col = column_.as<float>();
    p_.bias = bias_.as<float>();
    p_.out = out_.as<void>();
    INTAGLIO_TRY(device_status(fill_s8(a_.as<int8_t>(), shape.m * p_.lda, 1, nullptr), "fill_s8"));
    INTAGLIO_TRY(device_status(fill_s8(w_.as<int8_t>(), shape.n * p_.ldw, 2, nullptr), "fill_s8"));
    INTAGLIO_TRY(
        device_status(fill_f32(row_.as<float>(), shape.m, 3, 1e-3f, 2e-3f, nullptr), "fill_f32"));
    INTAGLIO_TRY(device_status(fill_f32(column_.as<float>(), shape.n, 4, 1e-3f, 2e-3f, nullptr),
                               "fill_f32"));
    INTAGLIO_TRY(
        device_status(fill_f32(bias_.as<float>(), shape.n, 5, -1.0f, 1.0f, nullptr), "fill_f32"));
    return device_status(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
  }

  Status check(const S8GemmChoice& choice, const S8GemmShape& shape) override {
    INTAGLIO_TRY(reserve_workspace(choice));
    // Bytes that no kernel writes by chance: an output left out is seen.
    INTAGLIO_TRY(device_status(cudaMemset(out_.as<void>(), 0xa5, out_.size()), "cudaMemset"));
    INTAGLIO_TRY(device_status(cudaMemset(verdict_.as<void>(), 0, verdict_.size()), "cudaMemset"));
    INTAGLIO_TRY(launch(choice));
    INTAGLIO_TRY(
        device_status(judge_s8_gemm(p_, verdict_.as<S8GemmVerdict>(), nullptr), "judge_s8_gemm"));
    S8GemmVerdict verdict{};
    INTAGLIO_TRY(device_status(
        cudaMemcpy(&verdict, verdict_.as<void>(), sizeof verdict, cudaMemcpyDeviceToHost),
        "cudaMemcpy"));
    if (verdict.wrong == 0) return {};
    return make_error(ErrorCode::kInternal,
                      "{} {} for m {}, n {}, k {}: {} outputs differ from the reference",
                      s8_gemm_family_name(choice.family), choice.config, shape.m, shape.n, shape.k,
                      verdict.wrong);
  }

  Expected<double> measure_ms(const S8GemmChoice& choice, const S8GemmShape&) override {
    INTAGLIO_TRY(reserve_workspace(choice));
    const auto once = [&] { return launch(choice); };
    INTAGLIO_ASSIGN(const double first, launch_time_ms(once, 1));
    const int launches =
        std::clamp(static_cast<int>(kRoundMs / std::max(first, 1e-3)), 1, kMostLaunches);
    INTAGLIO_TRY(
        device_status(cudaMemsetAsync(flush_.as<void>(), 0, flush_.size()), "cudaMemsetAsync"));
    return launch_time_ms(once, launches);
  }

 private:
  Status launch(const S8GemmChoice& choice) {
    return launch_s8_gemm(p_, choice, device_, workspace_.as<void>(), nullptr);
  }

  Status reserve_workspace(const S8GemmChoice& choice) {
    const size_t bytes = s8_gemm_workspace_bytes(p_, choice);
    if (bytes <= workspace_.size()) return {};
    INTAGLIO_ASSIGN(workspace_, DeviceBuffer::allocate(bytes));
    return {};
  }

  const CudaDevice& device_;
  S8GemmParams p_{};
  DeviceBuffer a_, w_, row_, column_, bias_, out_, workspace_, flush_, verdict_;
};

}  // namespace

Expected<std::unique_ptr<TuningDevice>> open_tuning_device(int ordinal) {
  INTAGLIO_ASSIGN(const CudaDevice* const device, find_device(ordinal));
  return std::unique_ptr<TuningDevice>(new CudaTuningDevice(*device));
}

}  // namespace intaglio::cuda
