// One unit of work of a matrix product on AMX tiles: an M block times some weight panels. Plain
// data only, see cpu/s8_gemm_kernels.h. Sizes along k are bytes.
#pragma once

#include <cstdint>

namespace intaglio {

inline constexpr int kAmxPanelCols = 32;
inline constexpr int kAmxRows = 16;                       // rows of a tile, and of a group
inline constexpr int kAmxMaxGroups = 3;                   // groups of a row tile
inline constexpr int kAmxStepK = 64;                      // k of a tile: one step
inline constexpr int kAmxTileBytes = 1024;                // 16 rows of 64 bytes
inline constexpr int kAmxStepWBytes = 2 * kAmxTileBytes;  // one step of a panel
inline constexpr int kAmxGroupAccElements =
    kAmxRows * kAmxPanelCols;                            // acc of a group: 16 x 32 of the output
inline constexpr int kAmxAccStride = kAmxPanelCols * 4;  // bytes of a row of acc
inline constexpr int kAmxAheadSteps = 16;  // weights prefetched in front of a single row tile

// Epilogue: what happens to the finished sums.
template <typename Epilogue>
struct AmxTask {
  // A in groups of 16 rows. Group g starts at a + g * 16 * lda, except the last, ragged one, which
  // lies zero-padded in a_tail (stride a_tail_stride).
  const int8_t* a;
  int64_t lda;
  const int8_t* a_tail;
  int64_t a_tail_stride;
  int64_t a_tail_group;  // -1 if there is none
  int64_t m;             // rows of the whole product
  // The copy of this task's slice of A, in the order of use; written with the first panel unless
  // a_packed. nullptr: rows are read as they are.
  int8_t* a_pack;
  bool a_packed;

  // All packed panels of kAmxPanelCols columns: [step][2 tiles of 16 columns][16 rows][16 columns]
  // dwords
  const uint8_t* w;
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

  // A jumps by segment_jump bytes after every segment_steps steps; 0: never. Not with a ragged last
  // group or a ragged k.
  int64_t segment_steps;
  int64_t segment_jump;

  int32_t* acc;  // the sums, int32 or float; AmxPlan::acc_elements, 64-byte aligned
  Epilogue epilogue;
};

}  // namespace intaglio
