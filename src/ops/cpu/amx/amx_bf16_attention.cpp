// Attention on bf16 with AMX: tdpbf16ps for both products, AVX-512 for the softmax between them.
// The blocking is in amx_attention_block.h.
//
// The tile instructions are written as assembly because the intrinsics of g++ 12 do not tell the
// compiler that they read and write memory.
#include "ops/cpu/amx/amx_attention_block.h"
#include "ops/cpu/avx512bf16/attention_bf16.h"

namespace intaglio {
namespace {

// Palette 1 with all eight tiles at 16 rows of 64 bytes.
struct alignas(64) TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
static_assert(sizeof(TileConfig) == 64);

constexpr TileConfig kTileConfig{};

struct AmxTiles {
  static void begin() { asm volatile("ldtilecfg %0" : : "m"(kTileConfig)); }
  static void end() { asm volatile("tilerelease"); }

  template <int kTile>
  static void zero() {
    asm volatile("tilezero %%tmm%c0" : : "i"(kTile));
  }
  template <int kTile>
  static void load(const void* base, int64_t stride) {
    asm volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(base), "r"(stride), "i"(kTile) : "memory");
  }
  template <int kTile>
  static void store(void* base, int64_t stride) {
    asm volatile("tilestored %%tmm%c2, (%0,%1,1)"
                 :
                 : "r"(base), "r"(stride), "i"(kTile)
                 : "memory");
  }
  // c += a b
  template <int kC, int kA, int kB>
  static void multiply() {
    asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kC), "i"(kA), "i"(kB));
  }

  static void load_queries(const AttentionGeometry& g, const AttentionBlockArgs& args,
                           int64_t rows) {
    load_bf16_queries(g, args, rows);
  }
  static SoftenedRow soften_row(float* scores, int64_t count, float scale_log2, float* largest) {
    return soften_row_bf16(scores, count, scale_log2, largest);
  }
  static void hide_keys(float* scores, int64_t valid, int64_t count) {
    intaglio::hide_keys(scores, valid, count);
  }
  static void scale_row(float* row, int64_t count, float factor) {
    const __m512 f = _mm512_set1_ps(factor);
    for (int64_t c = 0; c < count; c += kLanes)
      _mm512_storeu_ps(row + c, _mm512_mul_ps(f, _mm512_loadu_ps(row + c)));
  }
  static void write_rows(const AttentionGeometry& g, const AttentionBlockArgs& args,
                         const float* totals) {
    intaglio::write_rows(g, args, totals);
  }
};

}  // namespace

void amx_bf16_attention_block(const AttentionGeometry& g, const AttentionBlockArgs& args) {
  amx_attention_block<AmxTiles>(g, args);
}

}  // namespace intaglio
