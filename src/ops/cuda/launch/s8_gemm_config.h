// What the launchers of the int8 GEMM kernels have in common.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "ops/cuda/s8_gemm_params.h"
#include "ops/cuda/tile/split_k.h"

namespace intaglio::cuda {

// One compiled variant of a kernel, as tuning and tests see it.
struct S8GemmConfig {
  const char* name;            // <kernel>_<tile_m>x<tile_n>x<tile_k>_<stages>
  int tile_m, tile_n, tile_k;  // of one thread block
  int stages;                  // k tiles in shared memory
  int threads;
  int smem_bytes;   // dynamic shared memory of one block
  int ctas_per_sm;  // blocks that the registers of one SM hold
  bool any_rows;    // takes rows of a and w that do not start at multiples of 16 bytes
};

// The parameters of the product proper when the sums go to the workspace.
inline S8GemmParams partial_sums_params(const S8GemmParams& p, const S8SplitK& split,
                                        void* workspace) {
  S8GemmParams q = p;
  q.out = workspace;
  q.ldo = split.ld;
  q.out_type = DType::kI32;
  q.epilogue = GemmEpilogue::kNone;
  return q;
}

inline bool s8_rows_aligned(const S8GemmParams& p) {
  return p.lda % 16 == 0 && p.ldw % 16 == 0 && reinterpret_cast<uintptr_t>(p.a) % 16 == 0 &&
         reinterpret_cast<uintptr_t>(p.w) % 16 == 0;
}

// nullptr, or why no int8 kernel takes these parameters.
const char* refuse_s8_gemm_params(const S8GemmParams& p);

// Sums the partial sums and writes p.out. See kernels/s8_reduce.cuh.
cudaError_t s8_reduce(const S8GemmParams& p, const int32_t* partials, const S8SplitK& split,
                      cudaStream_t stream);

}  // namespace intaglio::cuda
