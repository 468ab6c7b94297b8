// The bf16 product on real tiles, its epilogue, and the packing of its weights; the algorithm is in
// amx_gemm_kernel.h.
#include <immintrin.h>

#include <cstdint>

#include "ops/cpu/amx/amx_gemm_kernel.h"
#include "ops/cpu/amx/amx_tile_moves.h"
#include "ops/cpu/bf16_amx_task.h"

namespace intaglio {
namespace {

__mmask16 head_mask(int64_t count) {
  return count >= 16  ? __mmask16(0xffff)
         : count <= 0 ? __mmask16(0)
                      : static_cast<__mmask16>((1u << count) - 1u);
}

__mmask32 head_mask_32(int64_t count) {
  return count >= 32  ? ~__mmask32(0)
         : count <= 0 ? __mmask32(0)
                      : static_cast<__mmask32>((uint64_t{1} << count) - 1);
}

__m512 widen_bf16(__m256i x) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16));
}

struct TileOps : AmxTileMoves {
  using Task = Bf16AmxTask;
  using Epilogue = Bf16Epilogue;
  struct Columns {
    __m512 bias[2];
    __mmask16 mask[2];
  };

  template <int kAcc, int kA, int kW>
  static void dot() {
    __asm__ volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(kAcc), "i"(kA), "i"(kW));
  }
  static Columns columns(const Bf16Epilogue& e, int64_t col0) {
    Columns c;
    for (int v = 0; v < 2; ++v) {
      c.mask[v] = head_mask(e.n - col0 - 16 * v);
      c.bias[v] = e.bias == nullptr ? _mm512_setzero_ps()
                                    : _mm512_maskz_loadu_ps(c.mask[v], e.bias + col0 + 16 * v);
    }
    return c;
  }
  static void epilogue_row(const Bf16Epilogue& e, const Columns& c, const int32_t* acc, int64_t row,
                           int64_t col0) {
    const uint32_t line = static_cast<uint32_t>(row) / e.pitch;
    const uint32_t place = static_cast<uint32_t>(row) - line * e.pitch;
    if (place >= e.width) return;
    const int64_t at = line * e.ld_line + place * e.ld + col0;
    for (int v = 0; v < 2; ++v) {
      if (c.mask[v] == 0) break;
      __m512 y = _mm512_add_ps(_mm512_castsi512_ps(_mm512_load_si512(acc + 16 * v)), c.bias[v]);
      if (e.bf16_out) {
        if (e.add != nullptr)
          y = _mm512_add_ps(y, widen_bf16(_mm256_maskz_loadu_epi16(
                                   c.mask[v], static_cast<const uint16_t*>(e.add) + at + 16 * v)));
        _mm256_mask_storeu_epi16(static_cast<uint16_t*>(e.out) + at + 16 * v, c.mask[v],
                                 (__m256i)_mm512_cvtneps_pbh(y));
      } else {
        if (e.add != nullptr)
          y = _mm512_add_ps(
              y, _mm512_maskz_loadu_ps(c.mask[v], static_cast<const float*>(e.add) + at + 16 * v));
        _mm512_mask_storeu_ps(static_cast<float*>(e.out) + at + 16 * v, c.mask[v], y);
      }
    }
  }
};

// r[i] lane j becomes r[j] lane i, dwords.
void transpose_16(__m512i* r) {
  __m512i t[16];
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
  }
  // Four rows at a time: t[4 q + s] holds columns s (mod 4) of rows 4 q to 4 q + 3 in each lane.
  for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  // Lanes: column 4 l + s of all rows gathers lane l of r[s], r[4 + s], r[8 + s], r[12 + s].
  for (int s = 0; s < 4; ++s) {
    const __m512i a = _mm512_shuffle_i32x4(r[s], r[4 + s], 0x88);  // lanes 0, 2 of both
    const __m512i b = _mm512_shuffle_i32x4(r[s], r[4 + s], 0xdd);  // lanes 1, 3
    const __m512i c = _mm512_shuffle_i32x4(r[8 + s], r[12 + s], 0x88);
    const __m512i d = _mm512_shuffle_i32x4(r[8 + s], r[12 + s], 0xdd);
    t[s] = _mm512_shuffle_i32x4(a, c, 0x88);
    t[4 + s] = _mm512_shuffle_i32x4(b, d, 0x88);
    t[8 + s] = _mm512_shuffle_i32x4(a, c, 0xdd);
    t[12 + s] = _mm512_shuffle_i32x4(b, d, 0xdd);
  }
  for (int i = 0; i < 16; ++i) r[i] = t[i];
}

}  // namespace

void amx_bf16_task(const Bf16AmxTask& task) { run_task<TileOps>(task); }

void amx_bf16_pack(const Bf16AmxPackArgs& args) {
  constexpr int64_t kStepElements = kAmxStepK / 2;
  uint8_t* target = args.panel;
  for (int64_t k = 0; k < args.k; k += kStepElements) {
    const __mmask32 mask = head_mask_32(args.k - k);
    for (int64_t column = 0; column < kAmxPanelCols; column += 16) {
      __m512i rows[16];
      for (int64_t i = 0; i < 16; ++i) {
        rows[i] = column + i < args.n
                      ? _mm512_maskz_loadu_epi16(mask, args.w + (column + i) * args.ldw + k)
                      : _mm512_setzero_si512();
      }
      transpose_16(rows);
      for (int64_t i = 0; i < 16; ++i) _mm512_store_si512(target + 64 * i, rows[i]);
      target += kAmxTileBytes;
    }
  }
}

}  // namespace intaglio
