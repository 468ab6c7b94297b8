// 16 floats at a time, and sums in a fixed order. Internal linkage.
#pragma once

// g++ 12 takes the deliberately undefined operands inside its own intrinsics for mistakes.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#include <immintrin.h>
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif

#include <cstdint>

namespace intaglio {
namespace {

constexpr int64_t kLanes = 16;

using Floats = __m512;

// Which lanes of a vector lie inside the row: all, or the first ones.
struct Whole {};
struct Part {
  int64_t count;
};

[[maybe_unused]] inline __mmask16 mask_of(Part part) {
  return static_cast<__mmask16>((1u << part.count) - 1u);
}

[[maybe_unused]] inline Floats widen(__m256i words) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(words), 16));
}

// Lanes outside the row are loaded as zero and not stored.
[[maybe_unused]] inline Floats load(const float* x, Whole) { return _mm512_loadu_ps(x); }
[[maybe_unused]] inline Floats load(const float* x, Part part) {
  return _mm512_maskz_loadu_ps(mask_of(part), x);
}
[[maybe_unused]] inline Floats load(const uint16_t* x, Whole) {
  return widen(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(x)));
}
[[maybe_unused]] inline Floats load(const uint16_t* x, Part part) {
  return widen(_mm256_maskz_loadu_epi16(mask_of(part), x));
}

// To bf16, nearest even, NaN kept: the rounding of BFloat16.
[[maybe_unused]] inline __m256i to_bf16(Floats x) {
  const __m512i bits = _mm512_castps_si512(x);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  __m512i rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
  const __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
  rounded = _mm512_mask_or_epi32(rounded, nan, bits, _mm512_set1_epi32(0x00400000));
  return _mm512_cvtepi32_epi16(_mm512_srli_epi32(rounded, 16));
}

[[maybe_unused]] inline void store(float* out, Whole, Floats x) { _mm512_storeu_ps(out, x); }
[[maybe_unused]] inline void store(float* out, Part part, Floats x) {
  _mm512_mask_storeu_ps(out, mask_of(part), x);
}
[[maybe_unused]] inline void store(uint16_t* out, Whole, Floats x) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), to_bf16(x));
}
[[maybe_unused]] inline void store(uint16_t* out, Part part, Floats x) {
  _mm256_mask_storeu_epi16(out, mask_of(part), to_bf16(x));
}

[[maybe_unused]] inline Floats all(float x) { return _mm512_set1_ps(x); }
[[maybe_unused]] inline Floats add(Floats a, Floats b) { return _mm512_add_ps(a, b); }
[[maybe_unused]] inline Floats sub(Floats a, Floats b) { return _mm512_sub_ps(a, b); }
[[maybe_unused]] inline Floats mul(Floats a, Floats b) { return _mm512_mul_ps(a, b); }
[[maybe_unused]] inline Floats mul_add(Floats a, Floats b, Floats c) {
  return _mm512_fmadd_ps(a, b, c);
}
[[maybe_unused]] inline Floats mul_sub(Floats a, Floats b, Floats c) {
  return _mm512_fmsub_ps(a, b, c);
}

// a b - c in even lanes, a b + c in odd ones.
[[maybe_unused]] inline Floats mul_sub_add(Floats a, Floats b, Floats c) {
  return _mm512_fmaddsub_ps(a, b, c);
}
// Lanes 2j and 2j + 1 change places.
[[maybe_unused]] inline Floats swap_pairs(Floats x) { return _mm512_permute_ps(x, 0xb1); }

// x[j] in lanes 2j and 2j + 1: what is loaded is half as many values as lanes lie inside.
[[maybe_unused]] inline Floats load_doubled(const float* x, Part part) {
  const __m512i twice = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
  return _mm512_permutexvar_ps(twice, load(x, Part{part.count / 2}));
}
[[maybe_unused]] inline Floats load_doubled(const float* x, Whole) {
  return load_doubled(x, Part{kLanes});
}

// Sets the lanes outside the row to zero.
[[maybe_unused]] inline Floats inside(Floats x, Whole) { return x; }
[[maybe_unused]] inline Floats inside(Floats x, Part part) {
  return _mm512_maskz_mov_ps(mask_of(part), x);
}

// 16 float64 lanes.
struct Doubles {
  __m512d low = _mm512_setzero_pd(), high = _mm512_setzero_pd();
};

[[maybe_unused]] inline void accumulate(Doubles& sum, Floats x) {
  sum.low = _mm512_add_pd(sum.low, _mm512_cvtps_pd(_mm512_castps512_ps256(x)));
  sum.high = _mm512_add_pd(sum.high, _mm512_cvtps_pd(_mm512_extractf32x8_ps(x, 1)));
}

[[maybe_unused]] inline void spill(const Doubles& sum, double* lanes16) {
  _mm512_storeu_pd(lanes16, sum.low);
  _mm512_storeu_pd(lanes16 + 8, sum.high);
}

// Magnitudes as integers: they order as the floats do, with Inf and NaN above every number.
using Magnitudes = __m512i;

[[maybe_unused]] inline Magnitudes no_magnitudes() { return _mm512_setzero_si512(); }
[[maybe_unused]] inline Magnitudes larger_magnitudes(Magnitudes m, Floats x) {
  return _mm512_max_epi32(m,
                          _mm512_and_si512(_mm512_castps_si512(x), _mm512_set1_epi32(0x7fffffff)));
}
[[maybe_unused]] inline int32_t largest(Magnitudes m) { return _mm512_reduce_max_epi32(m); }

// clamp(round_half_even(x), -127, 127) to int8.
[[maybe_unused]] inline __m128i to_int8(Floats x) {
  const Floats clamped = _mm512_max_ps(_mm512_min_ps(x, all(127.0f)), all(-127.0f));
  return _mm512_cvtepi32_epi8(
      _mm512_cvt_roundps_epi32(clamped, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
[[maybe_unused]] inline void store(int8_t* out, Whole, Floats x) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out), to_int8(x));
}
[[maybe_unused]] inline void store(int8_t* out, Part part, Floats x) {
  _mm_mask_storeu_epi8(out, mask_of(part), to_int8(x));
}

}  // namespace
}  // namespace intaglio
