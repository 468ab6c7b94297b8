// Packs K and V for the two bf16 attention kernels: pairs along the summed axis, as vdpbf16ps and
// tdpbf16ps read them.
#include "ops/cpu/avx512vnni/attention_avx512.h"

namespace intaglio {
namespace {

// 32 bf16 of a row, fewer at its end; the rest is zero.
inline __m512i load_words(const uint16_t* row, int64_t index, int64_t count) {
  if (count <= 0) return _mm512_setzero_si512();
  const __mmask32 mask = count >= 32 ? 0xffffffffu : (1u << count) - 1u;
  return _mm512_maskz_loadu_epi16(mask, row + index);
}

}  // namespace

// A pair of depths is one 32-bit word, so packing K is the same transposition as in float32.
void avx512_bf16_attention_pack_k(const AttentionGeometry& g, const AttentionPackArgs& args) {
  uint16_t* packed = static_cast<uint16_t*>(args.packed);
  const int64_t end = args.end == g.keys ? g.keys_padded : args.end;
  for (int64_t key = args.begin; key < end; key += kLanes) {
    const int64_t panel = key / kPanel * kPanel;
    const int64_t width = smaller(kPanel, g.keys_padded - panel);
    uint16_t* target = packed + panel * g.depth_padded + (key - panel) * 2;
    for (int64_t p = 0; p < g.depth_padded; p += 2 * kLanes) {
      __m512i rows[kLanes];
      for (int64_t i = 0; i < kLanes; ++i) {
        const uint16_t* source =
            static_cast<const uint16_t*>(args.source) + smaller(key + i, g.keys - 1) * args.ld;
        rows[i] = load_words(source, p, key + i < g.keys ? g.head_dim - p : 0);
      }
      transpose_16x16(rows);
      for (int64_t i = 0; i < kLanes; ++i)
        _mm512_storeu_si512(target + (p / 2 + i) * width * 2, rows[i]);
    }
  }
}

void avx512_bf16_attention_pack_v(const AttentionGeometry& g, const AttentionPackArgs& args) {
  uint16_t* packed = static_cast<uint16_t*>(args.packed);
  const int64_t end = args.end == g.keys ? g.keys_padded : args.end;
  for (int64_t key = args.begin; key < end; key += 2) {
    const uint16_t* even =
        static_cast<const uint16_t*>(args.source) + smaller(key, g.keys - 1) * args.ld;
    const uint16_t* odd =
        static_cast<const uint16_t*>(args.source) + smaller(key + 1, g.keys - 1) * args.ld;
    for (int64_t col = 0; col < g.cols_padded; col += kLanes) {
      const int64_t panel = col / kPanel * kPanel;
      const int64_t width = smaller(kPanel, g.cols_padded - panel);
      const __mmask16 mask = first_lanes(g.head_dim - col);
      const __m256i low = _mm256_maskz_loadu_epi16(key < g.keys ? mask : 0, even + col);
      const __m256i high = _mm256_maskz_loadu_epi16(key + 1 < g.keys ? mask : 0, odd + col);
      const __m512i pairs = _mm512_or_si512(_mm512_cvtepu16_epi32(low),
                                            _mm512_slli_epi32(_mm512_cvtepu16_epi32(high), 16));
      _mm512_storeu_si512(packed + panel * g.keys_padded + key * width + (col - panel) * 2, pairs);
    }
  }
}

}  // namespace intaglio
