// One unit of work of the AMX int8 GEMM: an M block times some weight panels. Plain data only, see cpu/s8_gemm_kernels.h.
#pragma once

#include <cstdint>

#include "ops/cpu/s8_gemm_kernels.h"

namespace intaglio {

inline constexpr int kAmxRows = 16;                       // rows of a tile, and of a group
inline constexpr int kAmxMaxGroups = 3;                   // groups of a row tile
inline constexpr int kAmxStepK = 64;                      // k of a tile: one step
inline constexpr int kAmxTileBytes = 1024;                // 16 rows of 64 bytes
inline constexpr int kAmxStepWBytes = 2 * kAmxTileBytes;  // one step of a panel
inline constexpr int kAmxGroupAccElements =
    kAmxRows * kS8PanelCols;                            // acc of a group: 16 x 32 of the output
inline constexpr int kAmxAccStride = kS8PanelCols * 4;  // bytes of a row of acc
inline constexpr int kAmxAheadSteps = 16;  // weights prefetched in front of a single row tile

struct S8AmxTask {
  // A in groups of 16 rows. Group g starts at a + g * 16 * lda, except the last, ragged one, which lies zero-padded in a_tail (stride a_tail_stride).
  const int8_t* a;
  int64_t lda;
  const int8_t* a_tail;
  int64_t a_tail_stride;
  int64_t a_tail_group;  // -1 if there is none
  int64_t m;             // rows of the whole product
  // The copy of this task's slice of A, in the order of use; written with the first panel unless a_packed. nullptr: rows are read as they are.
  int8_t* a_pack;
  bool a_packed;

  const uint8_t* w;  // all packed panels
  int64_t panel_bytes;
  int64_t tile_groups;             // groups of a row tile: 2 or 3
  int64_t group_begin, group_end;  // groups of this task
  int64_t panel_begin, panel_end;
  int64_t k_steps;        // of the whole product
  int64_t k_block_steps;  // steps of a slice of A
  int64_t piece_steps;    // steps accumulated in tiles
  int64_t piece_tiles;    // row tiles that share a piece before the next piece
  int prefetch_a;
  bool prefetch_w;
  bool stream_a;

  int32_t* acc;  // S8AmxPlan::acc_elements, 64-byte aligned
  S8Epilogue epilogue;
};

// amx/: needs a processor with AMX-INT8 and permission to use it.
void amx_s8_task(const S8AmxTask& task);

}  // namespace intaglio
