#include "ops/cuda/library/cublaslt.h"

#if __has_include(<cublasLt.h>)

#include <cublasLt.h>
#include <dlfcn.h>

#include <algorithm>
#include <cstdint>

#include "core/cuda/library_symbol.h"

namespace intaglio::cuda {
namespace {

constexpr int kMostAlgorithms = 8;
// CUBLASLT_MATMUL_MATRIX_SCALE_OUTER_VEC_32F: headers have it from 12.9.
constexpr int32_t kScaleOfEachRow = 3;

// The entry points in use, by the header's types.
struct Library {
  decltype(&cublasLtGetVersion) get_version = nullptr;
  decltype(&cublasLtGetStatusString) status_string = nullptr;
  decltype(&cublasLtCreate) create = nullptr;
  decltype(&cublasLtDestroy) destroy = nullptr;
  decltype(&cublasLtMatmulDescCreate) desc_create = nullptr;
  decltype(&cublasLtMatmulDescDestroy) desc_destroy = nullptr;
  decltype(&cublasLtMatmulDescSetAttribute) desc_set = nullptr;
  decltype(&cublasLtMatrixLayoutCreate) layout_create = nullptr;
  decltype(&cublasLtMatrixLayoutDestroy) layout_destroy = nullptr;
  decltype(&cublasLtMatmulPreferenceCreate) preference_create = nullptr;
  decltype(&cublasLtMatmulPreferenceDestroy) preference_destroy = nullptr;
  decltype(&cublasLtMatmulPreferenceSetAttribute) preference_set = nullptr;
  decltype(&cublasLtMatmulAlgoGetHeuristic) heuristic = nullptr;
  decltype(&cublasLtMatmul) matmul = nullptr;
  std::string problem;  // not empty: unusable
};

Library open_library() {
  Library library;
  void* handle = nullptr;
  // Never closed: a library with a CUDA context behind it does not unload cleanly.
  for (const char* name :
       {"libcublasLt.so.13", "libcublasLt.so.12", "/usr/local/cuda/lib64/libcublasLt.so.13",
        "/usr/local/cuda/lib64/libcublasLt.so.12"}) {
    handle = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (handle != nullptr) break;
    if (library.problem.empty()) {
      const char* reason = dlerror();
      library.problem = std::string("cuBLASLt was not found: ") + (reason != nullptr ? reason : "");
    }
  }
  if (handle == nullptr) return library;
  library.problem.clear();
  const auto find = [&](const char* name, auto& function) {
    find_symbol(handle, "cuBLASLt", name, function, library.problem);
  };
  find("cublasLtGetVersion", library.get_version);
  find("cublasLtGetStatusString", library.status_string);
  find("cublasLtCreate", library.create);
  find("cublasLtDestroy", library.destroy);
  find("cublasLtMatmulDescCreate", library.desc_create);
  find("cublasLtMatmulDescDestroy", library.desc_destroy);
  find("cublasLtMatmulDescSetAttribute", library.desc_set);
  find("cublasLtMatrixLayoutCreate", library.layout_create);
  find("cublasLtMatrixLayoutDestroy", library.layout_destroy);
  find("cublasLtMatmulPreferenceCreate", library.preference_create);
  find("cublasLtMatmulPreferenceDestroy", library.preference_destroy);
  find("cublasLtMatmulPreferenceSetAttribute", library.preference_set);
  find("cublasLtMatmulAlgoGetHeuristic", library.heuristic);
  find("cublasLtMatmul", library.matmul);
  return library;
}

const Library& library() {
  static const Library loaded = open_library();
  return loaded;
}

// What a kind is to the library.
struct KindTypes {
  cudaDataType in, out, scale;
  cublasComputeType_t compute;
  bool fp8, rowwise;
};

KindTypes types_of(LtKind kind) {
  const bool s8 = kind == LtKind::kS8;
  const bool rowwise = kind == LtKind::kFP8Rowwise || kind == LtKind::kFP8RowwiseToF32;
  const bool fp8 = rowwise || kind == LtKind::kFP8Tensorwise;
  const bool f32_out =
      kind == LtKind::kF32 || kind == LtKind::kBF16ToF32 || kind == LtKind::kFP8RowwiseToF32;
  return {.in = s8                     ? CUDA_R_8I
                : fp8                  ? CUDA_R_8F_E4M3
                : kind == LtKind::kF32 ? CUDA_R_32F
                                       : CUDA_R_16BF,
          .out = s8        ? CUDA_R_32I
                 : f32_out ? CUDA_R_32F
                           : CUDA_R_16BF,
          .scale = s8 ? CUDA_R_32I : CUDA_R_32F,
          .compute = s8 ? CUBLAS_COMPUTE_32I : CUBLAS_COMPUTE_32F,
          .fp8 = fp8,
          .rowwise = rowwise};
}

// The operation of one call: made and freed by it, so that calls share nothing that they write.
class Operation {
 public:
  Operation() = default;
  Operation(const Operation&) = delete;
  Operation& operator=(const Operation&) = delete;
  ~Operation() {
    if (desc_) library().desc_destroy(desc_);
  }

  cublasStatus_t make(const KindTypes& types, const LtCall& call) {
    status_ = library().desc_create(&desc_, types.compute, types.scale);
    // Column-major library: out^T [n, m] = W [n, k] A^T, both operands stored k first.
    set(CUBLASLT_MATMUL_DESC_TRANSA, CUBLAS_OP_T);
    set(CUBLASLT_MATMUL_DESC_TRANSB, CUBLAS_OP_N);
    if (call.bias != nullptr) {
      set(CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
      set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, call.bias);
    }
    if (types.fp8) {
      set(CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, call.scales.w);
      set(CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, call.scales.a);
    }
    if (types.rowwise) {
      set(CUBLASLT_MATMUL_DESC_A_SCALE_MODE, kScaleOfEachRow);
      set(CUBLASLT_MATMUL_DESC_B_SCALE_MODE, kScaleOfEachRow);
    } else if (types.fp8) {
      set(CUBLASLT_MATMUL_DESC_FAST_ACCUM, int8_t{1});
    }
    return status_;
  }
  cublasLtMatmulDesc_t get() const { return desc_; }

 private:
  template <typename Value>
  void set(cublasLtMatmulDescAttributes_t attribute, Value value) {
    if (status_ == CUBLAS_STATUS_SUCCESS)
      status_ = library().desc_set(desc_, attribute, &value, sizeof(value));
  }

  cublasLtMatmulDesc_t desc_ = nullptr;
  cublasStatus_t status_ = CUBLAS_STATUS_SUCCESS;
};

class Product final : public LtProduct {
 public:
  ~Product() override {
    if (c_) library().layout_destroy(c_);
    if (b_) library().layout_destroy(b_);
    if (a_) library().layout_destroy(a_);
    if (handle_) library().destroy(handle_);
  }

  cublasStatus_t prepare(LtKind kind, const LtShape& shape, const LtScales& scales) {
    const Library& lt = library();
    types_ = types_of(kind);
    keep_scales(scales);
    const auto rows = [](int count) { return static_cast<uint64_t>(count); };
    cublasStatus_t status = lt.create(&handle_);
    const auto then = [&](auto&& call) {
      if (status == CUBLAS_STATUS_SUCCESS) status = call();
    };
    Operation operation;
    then([&] { return operation.make(types_, {.scales = scales}); });
    const uint64_t m = rows(shape.m), n = rows(shape.n), k = rows(shape.k);
    then([&] { return lt.layout_create(&a_, types_.in, k, n, shape.k); });
    then([&] { return lt.layout_create(&b_, types_.in, k, m, shape.k); });
    then([&] { return lt.layout_create(&c_, types_.out, n, m, shape.n); });
    cublasLtMatmulPreference_t preference{};
    then([&] { return lt.preference_create(&preference); });
    then([&] {
      return lt.preference_set(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                               &kWorkspaceBytes, sizeof(kWorkspaceBytes));
    });
    then([&] {
      return lt.heuristic(handle_, operation.get(), a_, b_, c_, c_, preference, kMostAlgorithms,
                          results_, &found_);
    });
    if (preference) lt.preference_destroy(preference);
    if (status == CUBLAS_STATUS_SUCCESS) keep_good();
    if (status == CUBLAS_STATUS_SUCCESS && found_ == 0) status = CUBLAS_STATUS_NOT_SUPPORTED;
    return status;
  }

  int algorithms() const override { return found_; }
  void use_algorithm(int index) override { used_ = std::clamp(index, 0, found_ - 1); }

  using LtProduct::run;
  cudaError_t run(const LtCall& call, void* workspace, cudaStream_t stream) const override {
    const float one = 1.0f, zero = 0.0f;
    const int32_t one_s32 = 1, zero_s32 = 0;
    const bool s8 = types_.scale == CUDA_R_32I;
    const void* alpha = s8 ? static_cast<const void*>(&one_s32) : &one;
    const void* beta = s8 ? static_cast<const void*>(&zero_s32) : &zero;
    Operation operation;
    cublasStatus_t status = operation.make(types_, call);
    if (status == CUBLAS_STATUS_SUCCESS) {
      status = library().matmul(handle_, operation.get(), alpha, call.w, a_, call.a, b_, beta,
                                call.out, c_, call.out, c_, &results_[used_].algo, workspace,
                                kWorkspaceBytes, stream);
    }
    if (status == CUBLAS_STATUS_SUCCESS) return cudaSuccess;
    return status == CUBLAS_STATUS_NOT_SUPPORTED ? cudaErrorNotSupported : cudaErrorUnknown;
  }

 private:
  // Each suggestion has a status of its own.
  void keep_good() {
    const auto end = std::remove_if(results_, results_ + found_, [](const auto& result) {
      return result.state != CUBLAS_STATUS_SUCCESS || result.workspaceSize > kWorkspaceBytes;
    });
    found_ = static_cast<int>(end - results_);
  }

  KindTypes types_{};
  cublasLtHandle_t handle_ = nullptr;
  cublasLtMatrixLayout_t a_ = nullptr, b_ = nullptr, c_ = nullptr;
  cublasLtMatmulHeuristicResult_t results_[kMostAlgorithms]{};
  int found_ = 0, used_ = 0;
};

}  // namespace

cudaError_t LtProduct::run(const void* a, const void* w, void* out, cudaStream_t stream) {
  if (own_workspace_ == nullptr) {
    void* data = nullptr;
    const cudaError_t status = cudaMalloc(&data, kWorkspaceBytes);
    if (status != cudaSuccess) return status;
    own_workspace_ = std::shared_ptr<void>(data, [](void* p) { cudaFree(p); });
  }
  return run({.a = a, .w = w, .out = out, .scales = own_scales_}, own_workspace_.get(), stream);
}

std::string cublaslt_version(std::string& error) {
  error = library().problem;
  if (!error.empty()) return "";
  const size_t version = library().get_version();  // 10000 * major + 100 * minor + patch
  return std::to_string(version / 10000) + "." + std::to_string(version / 100 % 100) + "." +
         std::to_string(version % 100);
}

std::unique_ptr<LtProduct> LtProduct::make(LtKind kind, const LtShape& shape,
                                           const LtScales& scales, std::string& error) {
  error = library().problem;
  if (!error.empty()) return nullptr;
  auto product = std::make_unique<Product>();
  const cublasStatus_t status = product->prepare(kind, shape, scales);
  if (status == CUBLAS_STATUS_SUCCESS) return product;
  error = std::string("cuBLASLt: ") + library().status_string(status);
  return nullptr;
}

}  // namespace intaglio::cuda

#else

namespace intaglio::cuda {

cudaError_t LtProduct::run(const void*, const void*, void*, cudaStream_t) {
  return cudaErrorNotSupported;
}

std::string cublaslt_version(std::string& error) {
  error = "built without cublasLt.h";
  return "";
}

std::unique_ptr<LtProduct> LtProduct::make(LtKind, const LtShape&, const LtScales&,
                                           std::string& error) {
  error = "built without cublasLt.h";
  return nullptr;
}

}  // namespace intaglio::cuda

#endif
