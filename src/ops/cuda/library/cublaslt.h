// Products of cuBLASLt: the engine's float products on a GPU, and what INT8 is measured against. Row-major [m, k] x [n, k]^T -> [m, n].
// The library is loaded when it is first asked for (libcublasLt.so.13, else .12): nothing links to it, and without it other kernels serve, and the comparisons are left out.
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

// Device arrays: [m], [n] (rowwise) or [1], [1] (tensorwise), else null.
struct LtScales {
  const float* a = nullptr;
  const float* w = nullptr;
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

  // f32 outputs: adds bias [n], memory of the device, or nothing if it is null. For all runs from now on.
  virtual bool set_bias(const float* bias) = 0;

  // fp8: scales in other places than those it was made with. For all runs from now on.
  virtual bool set_scales(const LtScales& scales) = 0;

  // `workspace`: kWorkspaceBytes, at a multiple of 256 bytes. Capturable.
  virtual cudaError_t run(const void* a, const void* w, void* out, void* workspace,
                          cudaStream_t stream) = 0;
  // In a workspace of the product's own, allocated by the first call.
  cudaError_t run(const void* a, const void* w, void* out, cudaStream_t stream);

 private:
  std::shared_ptr<void> own_workspace_;
};

}  // namespace intaglio::cuda
