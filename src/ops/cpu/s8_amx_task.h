// One unit of work of the AMX int8 GEMM: an M block times some weight panels. Plain data only, see cpu/s8_gemm_kernels.h.
#pragma once

#include <cstdint>

#include "ops/cpu/s8_gemm_kernels.h"

namespace intaglio {

inline constexpr int kAmxRows = 16;           // rows of a tile
inline constexpr int kAmxStepK = 64;          // k of a tile: one step
inline constexpr int kAmxTileBytes = 1024;    // 16 rows of 64 bytes
inline constexpr int kAmxAccElements = 1024;  // acc of a 32 x 32 block of the output

struct S8AmxTask {
  // A in groups of 16 rows. Group g starts at a + g * 16 * lda, except the last, ragged one, which lies zero-padded in a_tail (stride a_tail_stride).
  const int8_t* a;
  int64_t lda;
  const int8_t* a_tail;
  int64_t a_tail_stride;
  int64_t a_tail_group;  // -1 if there is none
  int64_t m;             // rows of the whole product

  const uint8_t* w;  // all packed panels
  int64_t panel_bytes;
  int64_t group_begin, group_end;  // groups of 16 rows of this task
  int64_t panel_begin, panel_end;
  int64_t k_steps;        // of the whole product
  int64_t k_block_steps;  // steps of a slice of A
  int64_t piece_steps;    // steps accumulated in tiles
  int prefetch_a;
  bool prefetch_w;

  int32_t* acc;  // s8_amx_acc_blocks(...) blocks of kAmxAccElements, 64-byte aligned
  S8Epilogue epilogue;
};

// Blocks of acc a task of `row_tiles` 32-row tiles and `panels` panels needs: the sums of whatever is waiting for its next piece of k.
inline constexpr int64_t s8_amx_acc_blocks(int64_t row_tiles, int64_t panels, int64_t k_steps,
                                           int64_t k_block_steps, int64_t piece_steps) {
  if (k_steps <= piece_steps && k_steps <= k_block_steps) return 1;
  return k_steps <= k_block_steps ? row_tiles : row_tiles * panels;
}

// amx/: needs a processor with AMX-INT8 and permission to use it.
void amx_s8_task(const S8AmxTask& task);

}  // namespace intaglio
