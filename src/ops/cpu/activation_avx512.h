// The arithmetic of ops/nonlinearity.h in AVX-512. Local to the file that includes it.
#pragma once

#include <immintrin.h>

#include "ops/nonlinearity.h"

namespace intaglio {
namespace {

inline __m512 avx512_exp(__m512 x) {
  // 2^n * exp(r), r in [-ln2/2, ln2/2]; scalef gives 0 and infinity at the ends and keeps NaN.
  x = _mm512_max_ps(_mm512_set1_ps(-104.0f), _mm512_min_ps(_mm512_set1_ps(104.0f), x));
  const __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504f)), 0x08);
  __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), x);
  r = _mm512_fnmadd_ps(n, _mm512_set1_ps(-2.12194440e-4f), r);
  __m512 p = _mm512_set1_ps(1.0f / 720);
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 120));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 24));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 6));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.5f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
  return _mm512_scalef_ps(p, n);
}

// SiLU is within 4 units in the last place (exp: Cody-Waite + degree 6).
struct Avx512Math {
  using Value = __m512;
  static __m512 set(double x) { return _mm512_set1_ps(static_cast<float>(x)); }
  static __m512 add(__m512 a, __m512 b) { return _mm512_add_ps(a, b); }
  static __m512 multiply(__m512 a, __m512 b) { return _mm512_mul_ps(a, b); }
  static __m512 quotient(__m512 x, __m512 u) {
    const __m512 e = avx512_exp(_mm512_sub_ps(_mm512_setzero_ps(), u));
    return _mm512_div_ps(x, _mm512_add_ps(_mm512_set1_ps(1.0f), e));
  }
};

}  // namespace
}  // namespace intaglio
