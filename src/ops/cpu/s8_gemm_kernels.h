// The plain-data interface between the int8 GEMM drivers (generic code) and the kernels (one
// instruction set a file).
//
// Every kernel computes panels of 32 columns into an int32 buffer acc[rows][32]; an epilogue turns
// such a buffer into output rows. Only plain structs cross this line, so that kernel files emit no
// shared inline code.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/dtype.h"
#include "ops/epilogue.h"
#include "ops/s8_side_rows.h"

namespace intaglio {

inline constexpr int kS8PanelCols = 32;

// What happens to acc[row, col] on its way out; see ops/s8_gemm.h for the formula.
struct S8Epilogue {
  const float* a_scale_row;
  const float* w_scale_col;
  const float* bias;  // or nullptr
  void* out;
  int64_t ldo;     // elements
  int64_t n;       // columns of the product (before SwiGLU halves them)
  DType out_type;  // kF32, kBF16 or kI32
  GemmEpilogue epilogue;
  S8SideRows side = {};  // of the reference
};

// acc[rows][32] = init[row] + a x w over k_groups groups, or acc += a x w when init is nullptr.
struct S8Tile {
  const void* a;        // packed rows: [k_groups][rows][one group]
  const void* w;        // packed panel, at its first group
  int32_t* acc;         // [rows][32], 64-byte aligned
  const int32_t* init;  // [rows] or nullptr
  // VNNI: one line of 64 bytes a k group from here on is brought to L2; any address will do
  const void* prefetch;
  int64_t k_groups;
  int64_t panel_bytes;  // bytes of a whole packed panel; the AVX2 panel holds two halves
  int rows;
};

// avx512vnni/: groups of 4 k; w is u8 (w + 128), a is s8. rows in [1, 14].
inline constexpr int kVnniTileRows = 14;
void avx512vnni_s8_tile(const S8Tile& tile);
// Rows [0, rows) of a (stride lda) to [k4][rows][4], zero padded; init_row[r] = -128 * sum_k a[r,
// k].
void avx512vnni_s8_pack_rows(const int8_t* a, int64_t lda, int rows, int64_t k, int8_t* packed,
                             int32_t* init_row);
// Writes output rows [row0, row0 + rows) of columns [col0, col0 + 32) from acc[rows][32].
void avx512_s8_epilogue(const S8Epilogue& epilogue, const int32_t* acc, int64_t row0, int64_t rows,
                        int64_t col0);
// avx512bf16/: the same.
void avx512bf16_s8_epilogue(const S8Epilogue& epilogue, const int32_t* acc, int64_t row0,
                            int64_t rows, int64_t col0);

// avx2/: groups of 2 k; w is s8, a is s16. rows in [1, 6].
inline constexpr int kAvx2TileRows = 6;
void avx2_s8_tile(const S8Tile& tile);
void avx2_s8_pack_rows(const int8_t* a, int64_t lda, int rows, int64_t k, int8_t* packed,
                       int32_t* init_row);
void avx2_s8_epilogue(const S8Epilogue& epilogue, const int32_t* acc, int64_t row0, int64_t rows,
                      int64_t col0);

}  // namespace intaglio
