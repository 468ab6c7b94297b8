// 16 floats at a time in two registers, lane for lane the same as the AVX-512 pieces. Internal
// linkage.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace intaglio {
namespace {

constexpr int64_t kLanes = 16;

struct Floats {
  __m256 low, high;
};

// Which lanes of a vector lie inside the row: all, or the first ones.
struct Whole {};
struct Part {
  int64_t count;
};

// All ones in the first `count` of 8 lanes.
[[maybe_unused]] inline __m256i mask_of(int64_t count) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(count)),
                            _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

[[maybe_unused]] inline __m256 widen(__m128i words) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(words), 16));
}

// Lanes outside the row are loaded as zero and not stored.
[[maybe_unused]] inline Floats load(const float* x, Whole) {
  return {_mm256_loadu_ps(x), _mm256_loadu_ps(x + 8)};
}
[[maybe_unused]] inline Floats load(const float* x, Part part) {
  if (part.count <= 8) return {_mm256_maskload_ps(x, mask_of(part.count)), _mm256_setzero_ps()};
  return {_mm256_loadu_ps(x), _mm256_maskload_ps(x + 8, mask_of(part.count - 8))};
}
[[maybe_unused]] inline Floats load(const uint16_t* x, Whole) {
  return {widen(_mm_loadu_si128(reinterpret_cast<const __m128i*>(x))),
          widen(_mm_loadu_si128(reinterpret_cast<const __m128i*>(x + 8)))};
}
[[maybe_unused]] inline Floats load(const uint16_t* x, Part part) {
  alignas(16) uint16_t words[kLanes] = {};
  for (int64_t i = 0; i < part.count; ++i) words[i] = x[i];
  return load(words, Whole{});
}

// To bf16 in the low halves, nearest even, NaN kept: the rounding of BFloat16.
[[maybe_unused]] inline __m256i round_to_bf16(__m256 x) {
  const __m256i bits = _mm256_castps_si256(x);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
  const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x00400000));
  const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
  return _mm256_srli_epi32(_mm256_blendv_epi8(rounded, quiet, nan), 16);
}

[[maybe_unused]] inline void store(float* out, Whole, Floats x) {
  _mm256_storeu_ps(out, x.low);
  _mm256_storeu_ps(out + 8, x.high);
}
[[maybe_unused]] inline void store(float* out, Part part, Floats x) {
  if (part.count <= 8) {
    _mm256_maskstore_ps(out, mask_of(part.count), x.low);
    return;
  }
  _mm256_storeu_ps(out, x.low);
  _mm256_maskstore_ps(out + 8, mask_of(part.count - 8), x.high);
}
[[maybe_unused]] inline void store(uint16_t* out, Whole, Floats x) {
  // The pack works within halves; the permutation puts the quarters in order.
  const __m256i packed = _mm256_packus_epi32(round_to_bf16(x.low), round_to_bf16(x.high));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), _mm256_permute4x64_epi64(packed, 0xd8));
}
[[maybe_unused]] inline void store(uint16_t* out, Part part, Floats x) {
  uint16_t words[kLanes];
  store(words, Whole{}, x);
  for (int64_t i = 0; i < part.count; ++i) out[i] = words[i];
}

[[maybe_unused]] inline Floats all(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
[[maybe_unused]] inline Floats add(Floats a, Floats b) {
  return {_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high)};
}
[[maybe_unused]] inline Floats sub(Floats a, Floats b) {
  return {_mm256_sub_ps(a.low, b.low), _mm256_sub_ps(a.high, b.high)};
}
[[maybe_unused]] inline Floats mul(Floats a, Floats b) {
  return {_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)};
}
[[maybe_unused]] inline Floats mul_add(Floats a, Floats b, Floats c) {
  return {_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
}
[[maybe_unused]] inline Floats mul_sub(Floats a, Floats b, Floats c) {
  return {_mm256_fmsub_ps(a.low, b.low, c.low), _mm256_fmsub_ps(a.high, b.high, c.high)};
}

// a b - c in even lanes, a b + c in odd ones.
[[maybe_unused]] inline Floats mul_sub_add(Floats a, Floats b, Floats c) {
  return {_mm256_fmaddsub_ps(a.low, b.low, c.low), _mm256_fmaddsub_ps(a.high, b.high, c.high)};
}
// Lanes 2j and 2j + 1 change places.
[[maybe_unused]] inline Floats swap_pairs(Floats x) {
  return {_mm256_permute_ps(x.low, 0xb1), _mm256_permute_ps(x.high, 0xb1)};
}

// x[j] in lanes 2j and 2j + 1: what is loaded is half as many values as lanes lie inside.
[[maybe_unused]] inline Floats doubled(__m256 x) {
  return {_mm256_permutevar8x32_ps(x, _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3)),
          _mm256_permutevar8x32_ps(x, _mm256_setr_epi32(4, 4, 5, 5, 6, 6, 7, 7))};
}
[[maybe_unused]] inline Floats load_doubled(const float* x, Whole) {
  return doubled(_mm256_loadu_ps(x));
}
[[maybe_unused]] inline Floats load_doubled(const float* x, Part part) {
  return doubled(_mm256_maskload_ps(x, mask_of(part.count / 2)));
}

// Sets the lanes outside the row to zero.
[[maybe_unused]] inline Floats inside(Floats x, Whole) { return x; }
[[maybe_unused]] inline Floats inside(Floats x, Part part) {
  return {_mm256_and_ps(x.low, _mm256_castsi256_ps(mask_of(part.count))),
          _mm256_and_ps(x.high, _mm256_castsi256_ps(mask_of(part.count - 8)))};
}

// 16 float64 lanes.
struct Doubles {
  __m256d part[4] = {_mm256_setzero_pd(), _mm256_setzero_pd(), _mm256_setzero_pd(),
                     _mm256_setzero_pd()};
};

[[maybe_unused]] inline void accumulate(Doubles& sum, Floats x) {
  sum.part[0] = _mm256_add_pd(sum.part[0], _mm256_cvtps_pd(_mm256_castps256_ps128(x.low)));
  sum.part[1] = _mm256_add_pd(sum.part[1], _mm256_cvtps_pd(_mm256_extractf128_ps(x.low, 1)));
  sum.part[2] = _mm256_add_pd(sum.part[2], _mm256_cvtps_pd(_mm256_castps256_ps128(x.high)));
  sum.part[3] = _mm256_add_pd(sum.part[3], _mm256_cvtps_pd(_mm256_extractf128_ps(x.high, 1)));
}

[[maybe_unused]] inline void spill(const Doubles& sum, double* lanes16) {
  for (int i = 0; i < 4; ++i) _mm256_storeu_pd(lanes16 + 4 * i, sum.part[i]);
}

// Magnitudes as integers: they order as the floats do, with Inf and NaN above every number.
using Magnitudes = __m256i;

[[maybe_unused]] inline Magnitudes no_magnitudes() { return _mm256_setzero_si256(); }
[[maybe_unused]] inline Magnitudes larger_magnitudes(Magnitudes m, Floats x) {
  const __m256i magnitude = _mm256_set1_epi32(0x7fffffff);
  m = _mm256_max_epi32(m, _mm256_and_si256(_mm256_castps_si256(x.low), magnitude));
  return _mm256_max_epi32(m, _mm256_and_si256(_mm256_castps_si256(x.high), magnitude));
}
[[maybe_unused]] inline int32_t largest(Magnitudes m) {
  alignas(32) int32_t lane[8];
  _mm256_store_si256(reinterpret_cast<__m256i*>(lane), m);
  int32_t most = lane[0];
  for (int i = 1; i < 8; ++i) most = lane[i] > most ? lane[i] : most;
  return most;
}

// clamp(round_half_even(x), -127, 127) to int8.
[[maybe_unused]] inline __m256i to_int8_range(__m256 x) {
  const __m256 clamped =
      _mm256_max_ps(_mm256_min_ps(x, _mm256_set1_ps(127.0f)), _mm256_set1_ps(-127.0f));
  return _mm256_cvtps_epi32(
      _mm256_round_ps(clamped, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
[[maybe_unused]] inline void store(int8_t* out, Whole, Floats x) {
  const __m256i words = _mm256_permute4x64_epi64(
      _mm256_packs_epi32(to_int8_range(x.low), to_int8_range(x.high)), 0xd8);
  _mm_storeu_si128(
      reinterpret_cast<__m128i*>(out),
      _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1)));
}
[[maybe_unused]] inline void store(int8_t* out, Part part, Floats x) {
  int8_t bytes[kLanes];
  store(bytes, Whole{}, x);
  for (int64_t i = 0; i < part.count; ++i) out[i] = bytes[i];
}

}  // namespace
}  // namespace intaglio
