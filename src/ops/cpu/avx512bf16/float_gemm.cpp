// bf16 matrix kernel for AVX-512 BF16 (vdpbf16ps: pairs of bf16 products added into fp32): see
// float_gemm_avx512.h.
#include "ops/cpu/float_gemm_avx512.h"

namespace intaglio::cpu {
namespace {

__m512 dot_pairs(__m512 sum, __m512i a, __m512i b) {
  return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b);
}

__mmask32 head_mask_32(int64_t count) {
  return count >= 32  ? ~__mmask32(0)
         : count <= 0 ? __mmask32(0)
                      : static_cast<__mmask32>((uint64_t{1} << count) - 1);
}

struct Bf16Element {
  static constexpr int64_t kSize = 2;
  static __m512 multiply_add(__m512 sum, __m512i a, __m512i b) { return dot_pairs(sum, a, b); }
  static __m512i load_row(const void* w, bool w_bf16, int64_t at, int64_t left) {
    if (w_bf16)
      return _mm512_maskz_loadu_epi16(head_mask_32(left), static_cast<const uint16_t*>(w) + at);
    const __m256i low = narrow_bf16(DotFloat::load(w, at, left));
    const __m256i high = narrow_bf16(DotFloat::load(w, at + 16, left - 16));
    return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
  }
};

struct DotPairs {
  using Vector = __m512i;
  static constexpr int64_t kStep = 32;
  static Vector load(const void* p, int64_t at, int64_t left) {
    return _mm512_maskz_loadu_epi16(head_mask_32(left), static_cast<const uint16_t*>(p) + at);
  }
  static __m512 multiply_add(__m512 sum, Vector x, Vector w) { return dot_pairs(sum, x, w); }
};

void block(const FloatGemmBlock& g) { multiply_block<Bf16Element>(g); }

void pack(const void* w, bool w_bf16, int64_t ldw, int64_t n, int64_t k, void* panel) {
  pack_columns<Bf16Element>(w, w_bf16, ldw, n, k, panel);
}

void dot(const FloatDotBlock& g) {
  if (g.bf16_in) {
    dot_block<DotPairs>(g);
  } else {
    dot_block<DotFloat>(g);
  }
}

}  // namespace

const FloatGemmKernels kAvx512Bf16Gemm{.bf16 = true, .block = block, .pack = pack, .dot = dot};

}  // namespace intaglio::cpu
