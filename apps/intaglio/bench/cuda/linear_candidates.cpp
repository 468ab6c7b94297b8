#include "linear_candidates.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <utility>

#include "core/cuda/device.h"
#include "core/cuda/device_buffer.h"
#include "core/cuda/launch_timing.h"
#include "dequantize_check.h"
#include "linear_operands.h"
#include "ops/cuda/baseline/operands.h"
#include "ops/cuda/launch/dequantize_s32.h"
#include "ops/cuda/launch/dequantize_weights.h"
#include "ops/cuda/launch/quantize_nf4.h"
#include "ops/cuda/launch/s8_gemm.h"
#include "ops/cuda/library/cublaslt.h"
#include "ops/cuda/tuning/s8_gemm_names.h"
#include "ops/cuda/weight_formats.h"

namespace intaglio::cli {
namespace {

using cuda::DequantizeWeightsParams;
using cuda::device_status;
using cuda::DeviceBuffer;
using cuda::LtKind;
using cuda::LtProduct;
using cuda::Matrix;
using cuda::WeightFormat;

constexpr float kLargestNormal = 6.0f;  // in deviations: beyond it, values saturate
constexpr int kLeastForBf16 = 80, kLeastForFp8 = 89;
constexpr int64_t kBaselineProducts = 4;

// Largest relative errors, about twice what rounding normal values to the format gives.
constexpr double kInt8Tolerance = 0.03, kFp8Tolerance = 0.075, kBf16Tolerance = 0.01,
                 kNf4Tolerance = 0.2, kQ8_0Tolerance = 0.02;

class Case final : public CudaLinearCase {
 public:
  Case(const CudaDevice& device, const LinearShape& shape)
      : device_(device), shape_(shape), size_(shape) {}

  Status prepare(const std::vector<std::string>& precisions) {
    INTAGLIO_TRY(in_.make(shape_));
    INTAGLIO_TRY(add_ours());
    const auto wanted = [&](const char* name) {
      return std::find(precisions.begin(), precisions.end(), name) != precisions.end();
    };
    if (wanted("int8-convrot")) INTAGLIO_TRY(add_turned());
    if (wanted("bf16") || wanted("int8-dequant") || wanted("nf4") || wanted("q8_0"))
      INTAGLIO_TRY(make_bf16());
    if (wanted("bf16")) INTAGLIO_TRY(add_bf16());
    if (wanted("fp8")) INTAGLIO_TRY(add_fp8());
    if (wanted("int8")) INTAGLIO_TRY(add_int8());
    if (wanted("int8-dequant")) INTAGLIO_TRY(add_int8_dequant());
    if (wanted("nf4")) INTAGLIO_TRY(add_nf4());
    if (wanted("q8_0")) INTAGLIO_TRY(add_q8_0());
    return {};
  }

 private:
  // Runs the candidate once into a poisoned output, takes its error, and keeps it if it is right. A
  // baseline that fails is not run.
  Status add(CudaLinearCandidate candidate, bool with_bias, bool ours) {
    INTAGLIO_TRY(poison(in_.out));
    Status status = candidate.timed.launch();
    if (status) status = device_status(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
    if (!status) {
      if (ours) return status;
      cudaGetLastError();
      skip(candidate.timed.name, status.error().message);
      return {};
    }
    INTAGLIO_ASSIGN(candidate.error, in_.sampled_error(with_bias));
    // Written so that a NaN counts as wrong.
    if (candidate.error <= candidate.tolerance) {
      candidates.push_back(std::move(candidate));
    } else {
      wrong.push_back(
          fmt::format("{}: relative error {:.3g} of sampled outputs, at most {:.3g} expected",
                      candidate.timed.name, candidate.error, candidate.tolerance));
    }
    return {};
  }

  void skip(const std::string& name, const std::string& reason) {
    not_run.push_back(name + ": " + reason);
  }

  Status add_ours() {
    INTAGLIO_ASSIGN(const cuda::S8GemmChoice choice, choose_s8_gemm(in_.p, device_));
    INTAGLIO_TRY(
        take_poisoned(workspace_, static_cast<int64_t>(s8_gemm_workspace_bytes(in_.p, choice))));
    const auto gemm = [this, choice]() -> Status {
      return launch_s8_gemm(in_.p, choice, device_, workspace_.as<void>(), nullptr);
    };
    const auto linear = [this, gemm]() -> Status {
      INTAGLIO_TRY(in_.quantize_x());
      return gemm();
    };
    // Every output, bit for bit, against the reference.
    INTAGLIO_TRY(poison(in_.out));
    INTAGLIO_TRY(gemm());
    INTAGLIO_ASSIGN(const unsigned long long different, in_.count_wrong());
    nlohmann::ordered_json extra = nlohmann::ordered_json::object();
    extra["kernel"] = cuda::describe(choice);
    if (different != 0) {
      wrong.push_back(fmt::format("{} ({}): {} of {} outputs differ from the reference", kOurGemm,
                                  cuda::describe(choice), different, shape_.m * shape_.n));
      return {};
    }
    INTAGLIO_TRY(add({.timed = {kOurGemm, gemm, {}},
                      .unit = LinearUnit::kInt8,
                      .tolerance = kInt8Tolerance,
                      .extra = extra},
                     true, true));
    // The quantizer must write what the product then reads.
    INTAGLIO_TRY(poison(in_.a));
    INTAGLIO_TRY(poison(in_.a_scale));
    return add({.timed = {"linear int8", linear, {}},
                .unit = LinearUnit::kInt8,
                .tolerance = kInt8Tolerance,
                .extra = extra},
               true, true);
  }

  // Our linear of turned rows: what runs for every call of it, from bf16 to bf16.
  Status add_turned() {
    const std::string name = kOurTurnedLinear;
    if (shape_.k % LinearOperands::kTurnedGroup != 0) {
      skip(name, fmt::format("k is no multiple of {}", LinearOperands::kTurnedGroup));
      return {};
    }
    INTAGLIO_TRY(in_.turn_weights());
    INTAGLIO_ASSIGN(const cuda::S8GemmChoice choice, choose_s8_gemm(in_.turned, device_));
    const auto linear = [this, choice]() -> Status {
      INTAGLIO_TRY(in_.quantize_turned_x());
      return launch_s8_gemm(in_.turned, choice, device_, workspace_.as<void>(), nullptr);
    };
    return add({.timed = {name, linear, {}},
                .unit = LinearUnit::kInt8,
                .tolerance = kInt8Tolerance,
                .extra = {{"kernel", cuda::describe(choice)}}},
               true, true);
  }

  // cuBLASLt offers several algorithms; the fastest of them here is the one to beat. nullptr, with
  // the reason, if none runs.
  Expected<std::unique_ptr<LtProduct>> make_product(LtKind kind, const cuda::LtScales& scales,
                                                    const void* a, const void* b, void* out,
                                                    std::string& reason) {
    const cuda::LtShape size{static_cast<int>(shape_.m), static_cast<int>(shape_.n),
                             static_cast<int>(padded_row(shape_.k))};
    std::unique_ptr<LtProduct> product = LtProduct::make(kind, size, scales, reason);
    if (product == nullptr) return product;
    int best = -1;
    double best_ms = 0;
    for (int i = 0; i < product->algorithms(); ++i) {
      product->use_algorithm(i);
      const auto launch = [&]() -> Status {
        return device_status(product->run(a, b, out, nullptr), "cublasLtMatmul");
      };
      Status status = launch();
      if (status) status = device_status(cudaDeviceSynchronize(), "cublasLtMatmul");
      Expected<double> ms = status ? cuda::launch_time_ms(launch, 4) : Expected<double>(0.0);
      if (!status || !ms) {
        reason = status ? ms.error().message : status.error().message;
        cudaGetLastError();
        continue;
      }
      if (best >= 0 && *ms >= best_ms) continue;
      best = i;
      best_ms = *ms;
    }
    if (best < 0) return std::unique_ptr<LtProduct>();
    product->use_algorithm(best);
    return product;
  }

  static std::function<Status()> run_of(LtProduct* product, const void* a, const void* b,
                                        void* out) {
    return [=]() -> Status {
      return device_status(product->run(a, b, out, nullptr), "cublasLtMatmul");
    };
  }

  static nlohmann::ordered_json algorithms_json(const LtProduct& product) {
    nlohmann::ordered_json json = nlohmann::ordered_json::object();
    json["algorithms_tried"] = product.algorithms();
    return json;
  }

  // One product for bf16 weights and for those that were written out.
  Status make_bf16() {
    if (device_.compute_capability < kLeastForBf16) {
      bf16_reason_ = fmt::format("bf16 needs compute capability 8.0, this is {}.{}",
                                 device_.compute_capability / 10, device_.compute_capability % 10);
      return {};
    }
    INTAGLIO_ASSIGN(bf16_, make_product(LtKind::kBF16, {}, in_.x.as<void>(), in_.w.as<void>(),
                                        in_.out.as<void>(), bf16_reason_));
    return {};
  }

  Status add_bf16() {
    const char* const name = "cublaslt bf16";
    if (bf16_ == nullptr) return skip(name, bf16_reason_), Status();
    return add(
        {.timed = {name,
                   run_of(bf16_.get(), in_.x.as<void>(), in_.w.as<void>(), in_.out.as<void>()),
                   {}},
         .unit = LinearUnit::kBf16,
         .tolerance = kBf16Tolerance,
         .extra = algorithms_json(*bf16_)},
        false, false);
  }

  struct Fp8 {
    DeviceBuffer x, w, x_scale, w_scale;
    std::unique_ptr<LtProduct> product;
  };

  Status add_fp8() {
    const char* const names[] = {"cublaslt fp8 rowwise", "cublaslt fp8 tensorwise"};
    if (device_.compute_capability < kLeastForFp8) {
      for (const char* name : names)
        skip(name, fmt::format("fp8 needs compute capability 8.9, this is {}.{}",
                               device_.compute_capability / 10, device_.compute_capability % 10));
      return {};
    }
    for (const bool rowwise : {true, false}) {
      const std::string name = names[rowwise ? 0 : 1];
      Fp8& fp8 = fp8_[rowwise ? 0 : 1];
      INTAGLIO_TRY(take_poisoned(fp8.x, size_.fp8_x));
      INTAGLIO_TRY(take_poisoned(fp8.w, size_.fp8_w));
      INTAGLIO_TRY(take_poisoned(fp8.x_scale, 4 * shape_.m));
      INTAGLIO_TRY(take_poisoned(fp8.w_scale, 4 * shape_.n));
      const auto convert = [&](const Matrix& from, const DeviceBuffer& to, float sigma,
                               const DeviceBuffer& scale) {
        const Matrix rows{to.as<void>(), from.rows, from.cols, from.ld};
        return device_status(quantize_e4m3(from, rows, rowwise ? 0.0f : kLargestNormal * sigma,
                                           scale.as<float>(), nullptr),
                             "quantize_e4m3");
      };
      INTAGLIO_TRY(convert(in_.x_rows, fp8.x, 1.0f, fp8.x_scale));
      INTAGLIO_TRY(convert(in_.w_rows, fp8.w, in_.w_sigma, fp8.w_scale));
      std::string reason;
      INTAGLIO_ASSIGN(fp8.product,
                      make_product(rowwise ? LtKind::kFP8Rowwise : LtKind::kFP8Tensorwise,
                                   {fp8.x_scale.as<float>(), fp8.w_scale.as<float>()},
                                   fp8.x.as<void>(), fp8.w.as<void>(), in_.out.as<void>(), reason));
      if (fp8.product == nullptr) {
        skip(name, reason);
        continue;
      }
      INTAGLIO_TRY(add({.timed = {name,
                                  run_of(fp8.product.get(), fp8.x.as<void>(), fp8.w.as<void>(),
                                         in_.out.as<void>()),
                                  {}},
                        .unit = LinearUnit::kFp8,
                        .tolerance = kFp8Tolerance,
                        .extra = algorithms_json(*fp8.product)},
                       false, false));
    }
    return {};
  }

  Status add_int8() {
    const std::string alone = "cublaslt s8s8s32", both = "cublaslt s8s8s32 + dequant";
    INTAGLIO_TRY(take_poisoned(sums_, size_.sums));
    std::string reason;
    INTAGLIO_ASSIGN(s8_, make_product(LtKind::kS8, {}, in_.a.as<void>(), in_.b.as<void>(),
                                      sums_.as<void>(), reason));
    if (s8_ == nullptr) {
      skip(alone, reason);
      skip(both, reason);
      return {};
    }
    const auto product = run_of(s8_.get(), in_.a.as<void>(), in_.b.as<void>(), sums_.as<void>());
    const int32_t* const sums = sums_.as<int32_t>();
    const size_t failed = wrong.size();
    if (const char* refused = cuda::dequantize_s32_refusal(in_.p, sums)) {
      skip(both, refused);
    } else {
      const auto with_pass = [this, product, sums]() -> Status {
        INTAGLIO_TRY(product());
        return device_status(cuda::dequantize_s32(in_.p, sums, nullptr), "dequantize_s32");
      };
      INTAGLIO_TRY(poison(sums_));
      INTAGLIO_TRY(add({.timed = {both, with_pass, {}},
                        .unit = LinearUnit::kInt8,
                        .tolerance = kInt8Tolerance,
                        .extra = algorithms_json(*s8_)},
                       true, false));
    }
    if (wrong.size() > failed) return {};
    // Its sums were checked with the pass behind them, and have no error of their own.
    candidates.push_back(
        {.timed = {alone, product, {}}, .unit = LinearUnit::kInt8, .extra = algorithms_json(*s8_)});
    return {};
  }

  // Weights that are written out as bf16 in each call, then multiplied.
  Status add_dequantized(const std::string& name, const DequantizeWeightsParams& params,
                         double bytes_of_weights, double tolerance) {
    if (const char* refused = cuda::dequantize_weights_refusal(params))
      return skip(name, refused), Status();
    if (const Status right = check_dequantized(params); !right) {
      if (right.error().code != ErrorCode::kInternal) return right;
      wrong.push_back(name + ": " + right.error().message);
      return {};
    }
    const auto dequantize = [params]() -> Status {
      return device_status(cuda::dequantize_weights(params, nullptr), "dequantize_weights");
    };
    const auto product =
        run_of(bf16_.get(), in_.x.as<void>(), dequantized_.as<void>(), in_.out.as<void>());
    const auto both = [dequantize, product]() -> Status {
      INTAGLIO_TRY(dequantize());
      return product();
    };
    constexpr int kLaunches = 16;
    INTAGLIO_TRY(dequantize());
    INTAGLIO_ASSIGN(const double ms, cuda::launch_time_ms(dequantize, kLaunches));
    const double moved = bytes_of_weights + 2.0 * params.n * params.k;
    return add({.timed = {name, both, {}},
                .unit = LinearUnit::kBf16,
                .tolerance = tolerance,
                .extra = {{"dequantize_ms", ms},
                          {"dequantize_gb_per_s", moved / ms * 1e-6},
                          {"weight_bytes", bytes_of_weights}}},
               false, false);
  }

  Status take_dequantized() {
    if (dequantized_.size() != 0) return {};
    return take_poisoned(dequantized_, size_.dequantized);
  }

  // The params all formats have in common; k is that of the product's rows.
  DequantizeWeightsParams weights(WeightFormat format, const DeviceBuffer& w) const {
    return {.w = w.as<void>(),
            .out = dequantized_.as<void>(),
            .ldw = padded_row(shape_.k),
            .n = static_cast<int32_t>(shape_.n),
            .k = static_cast<int32_t>(padded_row(shape_.k)),
            .format = format};
  }

  Status add_int8_dequant() {
    const char* const name = "int8-dequant";
    if (bf16_ == nullptr) return skip(name, bf16_reason_), Status();
    INTAGLIO_TRY(take_dequantized());
    DequantizeWeightsParams params = weights(WeightFormat::kI8, in_.b);
    params.scale = in_.b_scale.as<float>();
    return add_dequantized(name, params, static_cast<double>(size_.b + 4 * shape_.n),
                           kInt8Tolerance);
  }

  // Blocks run over rows that stand close together, so these formats are only timed where rows need
  // no padding.
  bool rows_are_dense(const char* name) {
    if (bf16_ == nullptr) {
      skip(name, bf16_reason_);
    } else if (shape_.k != padded_row(shape_.k)) {
      skip(name, fmt::format("k {} is no multiple of 16", shape_.k));
    }
    return bf16_ != nullptr && shape_.k == padded_row(shape_.k);
  }

  Status add_nf4() {
    const char* const name = "nf4-dequant";
    if (!rows_are_dense(name)) return {};
    INTAGLIO_TRY(take_dequantized());
    INTAGLIO_TRY(take_poisoned(nf4_, size_.nf4));
    INTAGLIO_TRY(take_poisoned(nf4_absmax_, size_.nf4_absmax));
    INTAGLIO_TRY(
        device_status(cuda::quantize_nf4(in_.w_rows.data, in_.w_rows.rows * in_.w_rows.cols,
                                         nf4_.as<uint8_t>(), nf4_absmax_.as<float>(), nullptr),
                      "quantize_nf4"));
    DequantizeWeightsParams params = weights(WeightFormat::kNf4, nf4_);
    params.scale = nf4_absmax_.as<float>();
    return add_dequantized(name, params, static_cast<double>(size_.nf4 + size_.nf4_absmax),
                           kNf4Tolerance);
  }

  Status add_q8_0() {
    const char* const name = "q8_0-dequant";
    if (!rows_are_dense(name)) return {};
    if (shape_.k % cuda::kQ8_0Block != 0)
      return skip(name, fmt::format("k {} is no multiple of 32", shape_.k)), Status();
    INTAGLIO_TRY(take_dequantized());
    INTAGLIO_TRY(take_poisoned(q8_0_, size_.q8_0));
    INTAGLIO_TRY(
        device_status(quantize_q8_0(in_.w_rows, q8_0_.as<uint8_t>(), nullptr), "quantize_q8_0"));
    return add_dequantized(name, weights(WeightFormat::kQ8_0, q8_0_),
                           static_cast<double>(size_.q8_0), kQ8_0Tolerance);
  }

  const CudaDevice& device_;
  const LinearShape shape_;
  const LinearSizes size_;
  LinearOperands in_;
  DeviceBuffer workspace_, sums_, nf4_, nf4_absmax_, q8_0_, dequantized_;
  Fp8 fp8_[2];
  std::unique_ptr<LtProduct> bf16_, s8_;
  std::string bf16_reason_;
};

}  // namespace

Expected<int64_t> CudaLinearCase::bytes_needed(const CudaDevice& device, const LinearShape& shape) {
  cuda::S8GemmParams p{};
  p.lda = p.ldw = padded_row(shape.k);
  p.ldo = shape.n;
  p.m = static_cast<int32_t>(shape.m);
  p.n = static_cast<int32_t>(shape.n);
  p.k = static_cast<int32_t>(shape.k);
  p.out_type = DType::kBF16;
  INTAGLIO_ASSIGN(const size_t workspace, s8_gemm_workspace_bound(p, device));
  return LinearSizes(shape).total() + static_cast<int64_t>(workspace) +
         kBaselineProducts * static_cast<int64_t>(LtProduct::kWorkspaceBytes);
}

Expected<std::unique_ptr<CudaLinearCase>> CudaLinearCase::make(
    const CudaDevice& device, const LinearShape& shape,
    const std::vector<std::string>& precisions) {
  auto made = std::make_unique<Case>(device, shape);
  INTAGLIO_TRY(made->prepare(precisions));
  return std::unique_ptr<CudaLinearCase>(std::move(made));
}

}  // namespace intaglio::cli
