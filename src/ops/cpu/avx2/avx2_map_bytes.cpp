// As avx512_map_bytes.cpp: a table of 128 bytes as eight of 16.
#include <immintrin.h>

#include <cstdint>

#include "ops/cpu/quantize_kernels.h"

namespace intaglio {
namespace {

constexpr int kTables = 8, kEntries = 16;

inline __m256i mapped(__m256i x, const __m256i (&tables)[kTables]) {
  const __m256i low = _mm256_and_si256(x, _mm256_set1_epi8(0x0F));
  const __m256i high = _mm256_and_si256(_mm256_srli_epi16(x, 4), _mm256_set1_epi8(0x07));
  __m256i q = _mm256_setzero_si256();
  for (int i = 0; i < kTables; ++i) {
    const __m256i named = _mm256_cmpeq_epi8(high, _mm256_set1_epi8(static_cast<char>(i)));
    q = _mm256_or_si256(q, _mm256_and_si256(named, _mm256_shuffle_epi8(tables[i], low)));
  }
  const __m256i sign = _mm256_cmpgt_epi8(_mm256_setzero_si256(), x);
  return _mm256_sub_epi8(_mm256_xor_si256(q, sign), sign);
}

}  // namespace

void avx2_map_bytes(const uint8_t* x, const int8_t* table, int64_t cols, int8_t* q) {
  __m256i tables[kTables];
  for (int i = 0; i < kTables; ++i) {
    tables[i] = _mm256_broadcastsi128_si256(
        _mm_loadu_si128(reinterpret_cast<const __m128i*>(table + i * kEntries)));
  }
  int64_t c = 0;
  for (; c + 32 <= cols; c += 32) {
    const __m256i bytes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x + c));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(q + c), mapped(bytes, tables));
  }
  ref_map_bytes(x + c, table, cols - c, q + c);
}

}  // namespace intaglio
