// Products of cuBLASLt: the engine's float products on a GPU, and what INT8 is measured against.
// Row-major [m, k] x [n, k]^T -> [m, n]. The library is loaded when it is first asked for
// (libcublasLt.so.13, else .12): nothing links to it, and without it other kernels serve, and the
// comparisons are left out.
#pragma once

#include <cuda_runtime_api.h>

#include <memory>
#include <string>

namespace intaglio::cuda {

enum class LtKind {
  kBF16,             // bf16 x bf16 -> bf16
  kBF16ToF32,        // bf16 x bf16 -> f32
  kF32,              // f32 x f32 -> f32, without TF32
  kS8,               // int8 x int8 -> int32, no scales
  kFP8Rowwise,       // e4m3, a scale a row of A and a row of W -> bf16
  kFP8RowwiseToF32,  // the same -> f32
  kFP8Tensorwise     // e4m3, one scale each, fast accumulation -> bf16
};

// Operands are dense: row strides k, k and n elements.
struct LtShape {
  int m = 0, n = 0, k = 0;
};

// Device arrays: [m], [n] (rowwise) or [1], [1] (tensorwise), else null. Those of rows are at
// multiples of 16 bytes: the library says that it does not support others.
struct LtScales {
  const float* a = nullptr;
  const float* w = nullptr;
};

// Device memory of one call.
struct LtCall {
  const void* a = nullptr;      // [m, k]
  const void* w = nullptr;      // [n, k]
  void* out = nullptr;          // [m, n]
  const float* bias = nullptr;  // [n] added to products with f32 outputs, or nullptr
  LtScales scales{};            // e4m3 products
};

// "13.0.2" of the library that is loaded; empty, with the reason in `error`, if there is none.
std::string cublaslt_version(std::string& error);

class LtProduct {
 public:
  // Device memory that a product works in.
  static constexpr size_t kWorkspaceBytes = size_t{64} << 20;

  // `error` says why if nothing is returned.
  static std::unique_ptr<LtProduct> make(LtKind kind, const LtShape& shape, const LtScales& scales,
                                         std::string& error);
  virtual ~LtProduct() = default;

  // The library's suggestions, the first in use from the start. At least one, at most eight.
  virtual int algorithms() const = 0;
  virtual void use_algorithm(int index) = 0;

  // `workspace`: kWorkspaceBytes, at a multiple of 256 bytes. Capturable. Threads may run one
  // product at the same time: nothing of a call is kept.
  virtual cudaError_t run(const LtCall& call, void* workspace, cudaStream_t stream) const = 0;
  // With the scales it was made with, in a workspace of the product's own that the first call
  // allocates: for benchmarks, one thread.
  cudaError_t run(const void* a, const void* w, void* out, cudaStream_t stream);

 protected:
  void keep_scales(const LtScales& scales) { own_scales_ = scales; }

 private:
  LtScales own_scales_{};
  std::shared_ptr<void> own_workspace_;
};

}  // namespace intaglio::cuda
