// The blocking of attention on bf16 matrix tiles, over a policy that supplies the tile and row
// operations: amx_bf16_attention.cpp binds it to the instructions, the tests to plain loops, so
// that the same code is checked on machines without AMX.
//
// A block is 32 query rows and 256 keys. Both products fill a 2 x 2 square of 16 x 16 float tiles
// from 2 + 2 bf16 tiles a step of 32:
//
//                B0 [32, 16]  B1 [32, 16]        scores: A = q [rows, 32 depths],  B = k pairs [32
//                depths, 16 keys]
//   A0 [16, 32]     C0           C1              sums:   A = weights [rows, 32 keys], B = v pairs
//   [32 keys, 16 columns] A1 [16, 32]     C2           C3
//
// Keys, depths and columns are padded to multiples of 32. The sums live in memory between key
// blocks and are scaled there, but only in rows whose largest logit has changed, which is rare
// after the first blocks.
//
// Policy:
//   begin(), end()                            tile configuration of the thread
//   zero<tile>(), load<tile>(base, stride), store<tile>(base, stride), multiply<c, a, b>() stride
//   in bytes load_queries(geometry, args, rows)        q_block [rows, depth_padded] bf16, padding
//   zero soften_row(scores, count, scale_log2, state*) -> {factor, total}    float scores to bf16
//   weights, in place hide_keys(scores, valid, count); scale_row(row, count, factor);
//   write_rows(geometry, args, totals)
#pragma once

#include <cstdint>

#include "ops/cpu/attention_kernels.h"

namespace intaglio {
namespace {

constexpr int64_t kAmxBlockRows = 32;
constexpr int64_t kAmxBlockKeys = 256;
constexpr int64_t kAmxPanel = 64;  // of the packed k and v
constexpr int64_t kTileSide = 16;
constexpr int64_t kTileStep = 32;  // bf16 elements of a tile row

// Tile numbers.
constexpr int kC0 = 0, kC1 = 1, kC2 = 2, kC3 = 3, kA0 = 4, kA1 = 5, kB0 = 6, kB1 = 7;

struct SquareArgs {
  const uint16_t* a;  // [32, depth] bf16
  int64_t lda;        // elements
  const uint16_t* b;  // [depth / 2, 32, 2] bf16
  int64_t ldb;        // elements of a row of pairs
  int64_t depth;      // a multiple of 32
  float* c;           // [32, 32]
  int64_t ldc;
  bool add;  // to what c holds
};

template <typename Tiles>
inline void multiply_square(const SquareArgs& s) {
  const int64_t c_stride = s.ldc * 4;
  float* c_low = s.c + kTileSide * s.ldc;
  if (s.add) {
    Tiles::template load<kC0>(s.c, c_stride);
    Tiles::template load<kC1>(s.c + kTileSide, c_stride);
    Tiles::template load<kC2>(c_low, c_stride);
    Tiles::template load<kC3>(c_low + kTileSide, c_stride);
  } else {
    Tiles::template zero<kC0>();
    Tiles::template zero<kC1>();
    Tiles::template zero<kC2>();
    Tiles::template zero<kC3>();
  }
  const uint16_t* a_low = s.a + kTileSide * s.lda;
  for (int64_t p = 0; p < s.depth; p += kTileStep) {
    const uint16_t* b = s.b + p / 2 * s.ldb;
    Tiles::template load<kA0>(s.a + p, s.lda * 2);
    Tiles::template load<kB0>(b, s.ldb * 2);
    Tiles::template multiply<kC0, kA0, kB0>();
    Tiles::template load<kB1>(b + kTileStep, s.ldb * 2);
    Tiles::template multiply<kC1, kA0, kB1>();
    Tiles::template load<kA1>(a_low + p, s.lda * 2);
    Tiles::template multiply<kC2, kA1, kB0>();
    Tiles::template multiply<kC3, kA1, kB1>();
  }
  Tiles::template store<kC0>(s.c, c_stride);
  Tiles::template store<kC1>(s.c + kTileSide, c_stride);
  Tiles::template store<kC2>(c_low, c_stride);
  Tiles::template store<kC3>(c_low + kTileSide, c_stride);
}

template <typename Tiles>
void amx_attention_block(const AttentionGeometry& g, const AttentionBlockArgs& args) {
  const int64_t seen = g.causal ? args.row + args.rows : g.keys;
  const uint16_t* q = static_cast<const uint16_t*>(args.q_block);
  const uint16_t* k = static_cast<const uint16_t*>(args.k_packed);
  const uint16_t* v = static_cast<const uint16_t*>(args.v_packed);
  const uint16_t* weights = reinterpret_cast<const uint16_t*>(args.scores);
  float* largest = args.row_state;
  float* totals = args.row_state + kAmxBlockRows;

  Tiles::begin();
  Tiles::load_queries(g, args, kAmxBlockRows);
  for (int64_t r = 0; r < kAmxBlockRows; ++r) {
    largest[r] = -__builtin_inff();
    totals[r] = 0.0f;
  }
  for (int64_t key = 0; key < seen; key += kAmxBlockKeys) {
    const int64_t keys = seen - key < kAmxBlockKeys ? seen - key : kAmxBlockKeys;
    const int64_t count = (keys + kTileStep - 1) / kTileStep * kTileStep;
    for (int64_t s = 0; s < count; s += kTileStep) {
      const int64_t panel = (key + s) / kAmxPanel * kAmxPanel;
      const int64_t width = g.keys_padded - panel < kAmxPanel ? g.keys_padded - panel : kAmxPanel;
      multiply_square<Tiles>({.a = q,
                              .lda = g.depth_padded,
                              .b = k + panel * g.depth_padded + (key + s - panel) * 2,
                              .ldb = width * 2,
                              .depth = g.depth_padded,
                              .c = args.scores + s,
                              .ldc = kAmxBlockKeys,
                              .add = false});
    }
    for (int64_t r = 0; r < kAmxBlockRows; ++r) {
      float* scores = args.scores + r * kAmxBlockKeys;
      const int64_t row_end = args.row + r + 1 - key;
      const int64_t valid = g.causal && row_end < keys ? row_end : keys;
      if (valid < count) Tiles::hide_keys(scores, valid, count);
      const auto softened = Tiles::soften_row(scores, count, g.scale_log2, largest + r);
      totals[r] = totals[r] * softened.factor + softened.total;
      if (key != 0 && softened.factor != 1.0f)
        Tiles::scale_row(args.sums + r * g.cols_padded, g.cols_padded, softened.factor);
    }
    for (int64_t col = 0; col < g.cols_padded; col += kTileStep) {
      const int64_t panel = col / kAmxPanel * kAmxPanel;
      const int64_t width = g.cols_padded - panel < kAmxPanel ? g.cols_padded - panel : kAmxPanel;
      multiply_square<Tiles>({.a = weights,
                              .lda = kAmxBlockKeys * 2,
                              .b = v + panel * g.keys_padded + key * width + (col - panel) * 2,
                              .ldb = width * 2,
                              .depth = count,
                              .c = args.sums + col,
                              .ldc = g.cols_padded,
                              .add = key != 0});
    }
  }
  Tiles::write_rows(g, args, totals);
  Tiles::end();
}

}  // namespace
}  // namespace intaglio
