#include "cublaslt_baseline.h"

#include <cublasLt.h>

#include <algorithm>
#include <vector>

namespace intaglio::bench {
namespace {

constexpr size_t kWorkspaceBytes = size_t{64} << 20;

class Product final : public LtProduct {
 public:
  ~Product() override {
    if (c_) cublasLtMatrixLayoutDestroy(c_);
    if (b_) cublasLtMatrixLayoutDestroy(b_);
    if (a_) cublasLtMatrixLayoutDestroy(a_);
    if (desc_) cublasLtMatmulDescDestroy(desc_);
    if (handle_) cublasLtDestroy(handle_);
    cudaFree(workspace_);
  }

  cublasStatus_t prepare(LtKind kind, int m, int n, int k, const float* a_scale,
                         const float* w_scale) {
    const bool s8 = kind == LtKind::kS8;
    const bool fp8 = kind == LtKind::kFP8Rowwise || kind == LtKind::kFP8Tensorwise;
    const cudaDataType in = s8 ? CUDA_R_8I : fp8 ? CUDA_R_8F_E4M3 : CUDA_R_16BF;
    const cudaDataType out = s8 ? CUDA_R_32I : CUDA_R_16BF;
    const cudaDataType scale = s8 ? CUDA_R_32I : CUDA_R_32F;
    cublasStatus_t status = cublasLtCreate(&handle_);
    const auto then = [&](auto&& call) {
      if (status == CUBLAS_STATUS_SUCCESS) status = call();
    };
    const auto set = [&](cublasLtMatmulDescAttributes_t attribute, auto value) {
      then([&] { return cublasLtMatmulDescSetAttribute(desc_, attribute, &value, sizeof(value)); });
    };
    if (cudaMalloc(&workspace_, kWorkspaceBytes) != cudaSuccess) return CUBLAS_STATUS_ALLOC_FAILED;
    then([&] {
      return cublasLtMatmulDescCreate(&desc_, s8 ? CUBLAS_COMPUTE_32I : CUBLAS_COMPUTE_32F, scale);
    });
    // Column-major library: out^T [n, m] = W [n, k] A^T, both operands stored k first.
    set(CUBLASLT_MATMUL_DESC_TRANSA, CUBLAS_OP_T);
    set(CUBLASLT_MATMUL_DESC_TRANSB, CUBLAS_OP_N);
    if (fp8) {
      set(CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, static_cast<const void*>(w_scale));
      set(CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, static_cast<const void*>(a_scale));
      if (kind == LtKind::kFP8Rowwise) {
        set(CUBLASLT_MATMUL_DESC_A_SCALE_MODE, CUBLASLT_MATMUL_MATRIX_SCALE_OUTER_VEC_32F);
        set(CUBLASLT_MATMUL_DESC_B_SCALE_MODE, CUBLASLT_MATMUL_MATRIX_SCALE_OUTER_VEC_32F);
      } else {
        set(CUBLASLT_MATMUL_DESC_FAST_ACCUM, int8_t{1});
      }
    }
    then([&] { return cublasLtMatrixLayoutCreate(&a_, in, k, n, k); });
    then([&] { return cublasLtMatrixLayoutCreate(&b_, in, k, m, k); });
    then([&] { return cublasLtMatrixLayoutCreate(&c_, out, n, m, n); });
    cublasLtMatmulPreference_t preference{};
    then([&] { return cublasLtMatmulPreferenceCreate(&preference); });
    then([&] {
      return cublasLtMatmulPreferenceSetAttribute(preference,
                                                  CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                                  &kWorkspaceBytes, sizeof(kWorkspaceBytes));
    });
    int found = 0;
    cublasLtMatmulHeuristicResult_t result{};
    then([&] {
      return cublasLtMatmulAlgoGetHeuristic(handle_, desc_, a_, b_, c_, c_, preference, 1, &result,
                                            &found);
    });
    if (preference) cublasLtMatmulPreferenceDestroy(preference);
    if (status == CUBLAS_STATUS_SUCCESS && found == 0) status = CUBLAS_STATUS_NOT_SUPPORTED;
    algorithm_ = result.algo;
    s8_ = s8;
    return status;
  }

  cudaError_t run(const void* a, const void* w, void* out, cudaStream_t stream) override {
    const float one = 1.0f, zero = 0.0f;
    const int32_t one_s32 = 1, zero_s32 = 0;
    const void* alpha = s8_ ? static_cast<const void*>(&one_s32) : &one;
    const void* beta = s8_ ? static_cast<const void*>(&zero_s32) : &zero;
    const cublasStatus_t status =
        cublasLtMatmul(handle_, desc_, alpha, w, a_, a, b_, beta, out, c_, out, c_, &algorithm_,
                       workspace_, kWorkspaceBytes, stream);
    return status == CUBLAS_STATUS_SUCCESS ? cudaSuccess : cudaErrorUnknown;
  }

 private:
  cublasLtHandle_t handle_ = nullptr;
  cublasLtMatmulDesc_t desc_ = nullptr;
  cublasLtMatrixLayout_t a_ = nullptr, b_ = nullptr, c_ = nullptr;
  cublasLtMatmulAlgo_t algorithm_{};
  void* workspace_ = nullptr;
  bool s8_ = false;
};

}  // namespace

std::unique_ptr<LtProduct> LtProduct::make(LtKind kind, int m, int n, int k, const float* a_scale,
                                           const float* w_scale, std::string& error) {
  auto product = std::make_unique<Product>();
  const cublasStatus_t status = product->prepare(kind, m, n, k, a_scale, w_scale);
  if (status == CUBLAS_STATUS_SUCCESS) return product;
  error = cublasLtGetStatusString(status);
  return nullptr;
}

}  // namespace intaglio::bench
