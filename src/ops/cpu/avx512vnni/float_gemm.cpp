// Float matrix kernel for AVX-512: see float_gemm_avx512.h.
#include "ops/cpu/float_gemm_avx512.h"

namespace intaglio::cpu {
namespace {

struct FloatElement {
  static constexpr int64_t kSize = 4;
  static __m512 multiply_add(__m512 sum, __m512i a, __m512i b) {
    return _mm512_fmadd_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b), sum);
  }
  static __m512i load_row(const void* w, bool w_bf16, int64_t at, int64_t left) {
    return _mm512_castps_si512(w_bf16 ? DotWidened::load(w, at, left)
                                      : DotFloat::load(w, at, left));
  }
};

void block(const FloatGemmBlock& g) { multiply_block<FloatElement>(g); }

void pack(const void* w, bool w_bf16, int64_t ldw, int64_t n, int64_t k, void* panel) {
  pack_columns<FloatElement>(w, w_bf16, ldw, n, k, panel);
}

void dot(const FloatDotBlock& g) {
  if (g.bf16_in) {
    dot_block<DotWidened>(g);
  } else {
    dot_block<DotFloat>(g);
  }
}

}  // namespace

const FloatGemmKernels kAvx512FloatGemm{.bf16 = false, .block = block, .pack = pack, .dot = dot};

}  // namespace intaglio::cpu
