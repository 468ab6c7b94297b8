// Which int8 GEMM kernel runs a product on a GPU, as data: chosen by a pure heuristic or found by
// the tuner, and kept in its cache.
#pragma once

#include <cstdint>
#include <string>

#include "core/cuda_device.h"
#include "ops/cuda/s8_gemm_params.h"

namespace intaglio::cuda {

enum class S8GemmFamily : int32_t {
  kSm75,   // mma.sync m8n8k16
  kSm80,   // mma.sync m16n8k32, cp.async: sm_80, 86, 89, 120, and a fallback from sm_80 up
  kSm90a,  // wgmma, copy engine: Hopper only
  kSmallM  // up to 64 rows, bound by the weights' bytes
};

// "sm75_s8_gemm", "sm80_s8_gemm", "sm90a_s8_gemm", "small_m_s8_gemm"
const char* s8_gemm_family_name(S8GemmFamily family);

struct S8GemmChoice {
  S8GemmFamily family = S8GemmFamily::kSm80;
  std::string
      config;  // the tile's name in the family's table, e.g. "128x256x128", "sm80_128x256x64_4"
  int32_t band =
      8;  // of the raster: rows of clusters (sm90a), columns of tiles (sm75, sm80: group_n)
  int32_t split_k = 1;  // pieces that K is cut into
  bool operator==(const S8GemmChoice&) const = default;
};

// The sizes a choice depends on.
struct S8GemmShape {
  int64_t m = 0, n = 0, k = 0;
  GemmEpilogue epilogue = GemmEpilogue::kNone;
  DType out_type = DType::kBF16;
  bool operator==(const S8GemmShape&) const = default;
};

}  // namespace intaglio::cuda
