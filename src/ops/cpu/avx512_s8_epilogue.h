// The AVX-512 epilogue of the int8 GEMMs, included by the VNNI and the AMX kernel files (everything
// is local to the file that includes it).
//
//   y = float(acc) * (a_scale * w_scale) + bias      the same bits as the reference: no fused multiply-add
//   bf16                                             nearest even in integer arithmetic, or by vcvtne2ps2bf16 where there is one: a third of the
//                                                    instructions, the same bits except that it
//                                                    flushes subnormals, so rows with one take the
//                                                    former
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "ops/cpu/activation_avx512.h"
#include "ops/cpu/s8_gemm_kernels.h"

namespace intaglio {
namespace {

inline __m256i avx512_to_bf16(__m512 value) {
  const __m512i bits = _mm512_castps_si512(value);
  const __m512i high = _mm512_srli_epi32(bits, 16);
  const __m512i odd = _mm512_and_si512(high, _mm512_set1_epi32(1));
  __m512i rounded = _mm512_srli_epi32(
      _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff))), 16);
  const __mmask16 nan = _mm512_cmp_ps_mask(value, value, _CMP_UNORD_Q);
  rounded = _mm512_mask_or_epi32(rounded, nan, high, _mm512_set1_epi32(0x40));
  return _mm512_cvtepi32_epi16(rounded);
}

inline void avx512_store(const S8Epilogue& e, int64_t row, int64_t col, __mmask16 mask,
                         __m512 value) {
  if (e.out_type == DType::kBF16) {
    _mm256_mask_storeu_epi16(static_cast<uint16_t*>(e.out) + row * e.ldo + col, mask,
                             avx512_to_bf16(value));
  } else {
    _mm512_mask_storeu_ps(static_cast<float*>(e.out) + row * e.ldo + col, mask, value);
  }
}

// The column operands of one panel, loaded once for all its rows.
struct Avx512Columns {
  __m512 scale[2];
  __m512 bias[2];
  __mmask16 mask[2];
};

inline __mmask16 avx512_column_mask(int64_t columns) {
  return columns >= 16 ? 0xffff : columns <= 0 ? 0 : static_cast<__mmask16>((1u << columns) - 1);
}

inline Avx512Columns avx512_columns(const S8Epilogue& e, int64_t col0) {
  Avx512Columns c;
  for (int i = 0; i < 2; ++i) {
    c.mask[i] = avx512_column_mask(e.n - col0 - 16 * i);
    c.scale[i] = e.out_type == DType::kI32
                     ? _mm512_setzero_ps()
                     : _mm512_maskz_loadu_ps(c.mask[i], e.w_scale_col + col0 + 16 * i);
    c.bias[i] = e.bias == nullptr ? _mm512_setzero_ps()
                                  : _mm512_maskz_loadu_ps(c.mask[i], e.bias + col0 + 16 * i);
  }
  return c;
}

#if defined(__AVX512BF16__)
// 32 columns as bf16, false if one of them is subnormal.
inline bool avx512_store_pair(const S8Epilogue& e, const Avx512Columns& c, int64_t row,
                              int64_t col0, __m512 y0, __m512 y1) {
  constexpr int kSubnormal = 0x20;
  if (!_kortestz_mask16_u8(_mm512_fpclass_ps_mask(y0, kSubnormal),
                           _mm512_fpclass_ps_mask(y1, kSubnormal))) {
    return false;
  }
  _mm512_mask_storeu_epi16(static_cast<uint16_t*>(e.out) + row * e.ldo + col0,
                           _mm512_kunpackw(c.mask[1], c.mask[0]),
                           (__m512i)_mm512_cvtne2ps_pbh(y1, y0));
  return true;
}
#endif

inline void avx512_epilogue_row(const S8Epilogue& e, const Avx512Columns& c, const int32_t* acc,
                                int64_t row, int64_t col0) {
  const __m512i acc0 = _mm512_load_si512(acc);
  const __m512i acc1 = _mm512_load_si512(acc + 16);
  if (e.out_type == DType::kI32) {
    int32_t* out = static_cast<int32_t*>(e.out) + row * e.ldo + col0;
    _mm512_mask_storeu_epi32(out, c.mask[0], acc0);
    _mm512_mask_storeu_epi32(out + 16, c.mask[1], acc1);
    return;
  }
  const __m512 a_scale = _mm512_set1_ps(e.a_scale_row[row]);
  __m512 y0 = _mm512_mul_ps(_mm512_cvtepi32_ps(acc0), _mm512_mul_ps(a_scale, c.scale[0]));
  __m512 y1 = _mm512_mul_ps(_mm512_cvtepi32_ps(acc1), _mm512_mul_ps(a_scale, c.scale[1]));
  if (e.bias != nullptr) {
    y0 = _mm512_add_ps(y0, c.bias[0]);
    y1 = _mm512_add_ps(y1, c.bias[1]);
  }
  visit_epilogue(e.epilogue, [&](auto epilogue) {
    using Epilogue = decltype(epilogue);
    constexpr typename Epilogue::Function kFunction;
    y0 = activate<Avx512Math>(kFunction, y0);
    if constexpr (Epilogue::kGated) {
      avx512_store(e, row, col0 / 2, 0xffff, _mm512_mul_ps(y0, y1));
    } else {
      y1 = activate<Avx512Math>(kFunction, y1);
#if defined(__AVX512BF16__)
      if (e.out_type == DType::kBF16 && avx512_store_pair(e, c, row, col0, y0, y1)) return;
#endif
      avx512_store(e, row, col0, c.mask[0], y0);
      avx512_store(e, row, col0 + 16, c.mask[1], y1);
    }
  });
}

}  // namespace
}  // namespace intaglio
