// The matrix product on AMX tiles, int8 or bf16, written over a policy `Ops` so that emulated tiles
// run the same blocking in tests. All sizes along k are bytes: a step is 64 of them, 64 int8 or 32
// bf16, and a dword of a tile holds 4 or 2.
//
//   tdpbssd   acc[16 rows][16 cols] += a[16 rows][64 k] * w[16 rows of 4 k][16 cols][4 k]     s8 x s8, exact in int32
//   tdpbf16ps acc[16 rows][16 cols] += a[16 rows][32 k] * w[16 rows of 2 k][16 cols][2 k]     bf16 x bf16, sums in fp32
//
//             w0       w1           2 groups of rows: tiles 0..3 accumulate 32 x 32 outputs, 4 and 5 hold A, 6 and 7 hold W. A step (64 k) is
//          +-------+-------+        4 tile loads and 4 products: 64 cycles of products, 32 of loads (two 64-byte rows a cycle from L1).
//      a0  | acc 0 | acc 1 |        3 groups: tiles 0..5 accumulate 48 x 32, 6 holds A and 7 W, one after the other: W0 A0 A1 A2 | W1 (A2) A1 A0.
//          +-------+-------+        A step is 7 loads, two of them lines that were just read, and 6 products: 96 cycles, 56 of loads.
//      a1  | acc 2 | acc 3 |        1 group (the last rows): 16 x 32.
//          +-------+-------+
//      a2  | acc 4 | acc 5 |        Which blocking reads how much of what from which cache: docs/kernels/cpu_s8_gemm.md.
//          +-------+-------+
//
// The M block of A stays in L2; the panels of a task stream past it from L3 or memory, prefetched.
// k is cut into pieces of piece_steps: a piece of a panel serves piece_tiles row tiles (all of the
// block, or so few that their sums stay in L1) before the next; the sums wait in `acc` between the
// pieces. When k is longer than k_block, A's slice of k_block is used with all panels of the task
// before the next slice.
//
// A is copied while the first panel is multiplied: tiles come from rows (stride lda) and go to
// a_pack as [row tile][step][group][16][64]. Later panels read one stream, which L1 prefetchers
// follow, a page serves four tiles instead of a few lines, and no stride maps all rows to the same
// sets.
//
// The epilogue of a finished tile is spread over the steps of the next one, where the vector units
// are idle.
//
// A row of A may lie in segments (AmxTask::segment_steps): the rows of a convolution's window in a
// padded picture. Rows may overlap.
//
// Ops: Task (an AmxTask), Epilogue, Columns; configure, release; zero, load, load_stream, store,
// dot on tile numbers; prefetch_l1, prefetch_l2; columns(epilogue, col0) and epilogue_row(epilogue,
// columns, acc, row, col0).
#pragma once

#include <cstdint>

#include "ops/cpu/amx_task.h"

namespace intaglio {
namespace {

// How tiles of A are read: rows as they are or the copy; the same with the hint that L1 should not
// keep them; rows, leaving a copy behind.
enum class AmxA { kPlain, kStream, kCopy };

// A finished block of the output whose rows [next, end) still have to be written.
template <typename Ops>
struct PendingBlock {
  typename Ops::Columns columns;
  const int32_t* acc = nullptr;
  int64_t row0 = 0;
  int64_t col0 = 0;
  int64_t next = 0;
  int64_t end = 0;

  // Not inlined, like run_pass: the loop over steps needs its registers for addresses.
  __attribute__((noinline)) void write(const typename Ops::Epilogue& epilogue, int64_t rows) {
    for (; rows > 0 && next < end; --rows, ++next) {
      Ops::epilogue_row(epilogue, columns, acc + next * kAmxPanelCols, row0 + next, col0);
    }
  }
};

// One piece of k of one row tile.
struct Pass {
  const int8_t* a[kAmxMaxGroups];
  int64_t stride[kAmxMaxGroups];
  int64_t a_step;        // bytes from one step of a group to the next
  int64_t segment_left;  // steps until A jumps to its next segment, once every segment_steps
  int8_t* copy;          // kCopy: where [step][group] tiles go
  const uint8_t* w;
  int64_t steps;
  const uint8_t* w_next;         // what is prefetched, or nullptr
  int64_t next_begin, next_end;  // lines of 64 bytes of each step of it that this pass prefetches
  int32_t* acc;
  bool first;
};

template <typename Ops, AmxA kA, int kTile>
void load_a(const int8_t* a, int64_t stride, int8_t* copy, int group) {
  if constexpr (kA == AmxA::kStream) {
    Ops::template load_stream<kTile>(a, stride);
  } else {
    Ops::template load<kTile>(a, stride);
    if constexpr (kA == AmxA::kCopy) Ops::template store<kTile>(copy + group * kAmxTileBytes, 64);
  }
}

// The products of one step; a[g] and w are at this step.
template <typename Ops, AmxA kA, int kGroups>
void run_step(const int8_t* const* a, const int64_t* stride, const uint8_t* w, int8_t* copy) {
  if constexpr (kGroups == 3) {
    Ops::template load<7>(w, 64);
    load_a<Ops, kA, 6>(a[0], stride[0], copy, 0);
    Ops::template dot<0, 6, 7>();
    load_a<Ops, kA, 6>(a[1], stride[1], copy, 1);
    Ops::template dot<2, 6, 7>();
    load_a<Ops, kA, 6>(a[2], stride[2], copy, 2);
    Ops::template dot<4, 6, 7>();
    Ops::template load<7>(w + kAmxTileBytes, 64);
    Ops::template dot<5, 6, 7>();
    Ops::template load<6>(a[1], stride[1]);
    Ops::template dot<3, 6, 7>();
    Ops::template load<6>(a[0], stride[0]);
    Ops::template dot<1, 6, 7>();
  } else {
    Ops::template load<6>(w, 64);
    load_a<Ops, kA, 4>(a[0], stride[0], copy, 0);
    Ops::template dot<0, 4, 6>();
    if constexpr (kGroups == 2) {
      load_a<Ops, kA, 5>(a[1], stride[1], copy, 1);
      Ops::template dot<2, 5, 6>();
    }
    Ops::template load<7>(w + kAmxTileBytes, 64);
    Ops::template dot<1, 4, 7>();
    if constexpr (kGroups == 2) Ops::template dot<3, 5, 7>();
  }
}

template <typename Ops, int kGroup>
void begin_group(const int32_t* acc, bool first) {
  const int32_t* const group = acc + kGroup * kAmxRows * kAmxPanelCols;
  if (first) {
    Ops::template zero<2 * kGroup>();
    Ops::template zero<2 * kGroup + 1>();
  } else {
    Ops::template load<2 * kGroup>(group, kAmxAccStride);
    Ops::template load<2 * kGroup + 1>(group + 16, kAmxAccStride);
  }
}

template <typename Ops, int kGroup>
void end_group(int32_t* acc) {
  int32_t* const group = acc + kGroup * kAmxRows * kAmxPanelCols;
  Ops::template store<2 * kGroup>(group, kAmxAccStride);
  Ops::template store<2 * kGroup + 1>(group + 16, kAmxAccStride);
}

template <typename Ops, AmxA kA, int kGroups>
__attribute__((noinline)) void run_pass(const typename Ops::Task& task, const Pass& pass,
                                        PendingBlock<Ops>& pending) {
  begin_group<Ops, 0>(pass.acc, pass.first);
  if constexpr (kGroups > 1) begin_group<Ops, 1>(pass.acc, pass.first);
  if constexpr (kGroups > 2) begin_group<Ops, 2>(pass.acc, pass.first);
  const int64_t pending_rows = (pending.end - pending.next + pass.steps - 1) / pass.steps;
  const int64_t a_ahead = task.prefetch_a * pass.a_step;
  const int8_t* a[kGroups];
  for (int g = 0; g < kGroups; ++g) a[g] = pass.a[g];
  const uint8_t* w = pass.w;
  const uint8_t* w_next = pass.w_next;
  int8_t* copy = pass.copy;
  int64_t segment_left = pass.segment_left;
  for (int64_t s = 0; s < pass.steps; ++s) {
    run_step<Ops, kA, kGroups>(a, pass.stride, w, copy);
    if (w_next != nullptr) {
      for (int64_t line = pass.next_begin; line < pass.next_end; ++line)
        Ops::prefetch_l2(w_next + line * 64);
      w_next += kAmxStepWBytes;
    }
    for (int g = 0; g < kGroups; ++g) {
      if constexpr (kA == AmxA::kCopy) {
        // These rows come from L3: the same piece of the next row tile, a pass ahead.
        const int8_t* next = a[g] + kGroups * kAmxRows * pass.stride[g];
        for (int r = 0; r < kAmxRows; ++r, next += pass.stride[g]) Ops::prefetch_l2(next);
      } else if (a_ahead > 0) {
        const int8_t* next = a[g] + a_ahead;
        for (int r = 0; r < kAmxRows; ++r, next += pass.stride[g]) Ops::prefetch_l1(next);
      }
      a[g] += pass.a_step;
    }
    if (--segment_left == 0) {
      for (int g = 0; g < kGroups; ++g) a[g] += task.segment_jump;
      segment_left = task.segment_steps;
    }
    w += kAmxStepWBytes;
    if constexpr (kA == AmxA::kCopy) copy += kGroups * kAmxTileBytes;
    if (pending_rows > 0) pending.write(task.epilogue, pending_rows);
  }
  // The waiting block is written by now, so its memory may be this one's.
  end_group<Ops, 0>(pass.acc);
  if constexpr (kGroups > 1) end_group<Ops, 1>(pass.acc);
  if constexpr (kGroups > 2) end_group<Ops, 2>(pass.acc);
}

template <typename Ops, AmxA kA>
void run_groups(const typename Ops::Task& task, const Pass& pass, PendingBlock<Ops>& pending,
                int64_t groups) {
  if (groups == 3) {
    run_pass<Ops, kA, 3>(task, pass, pending);
  } else if (groups == 2) {
    run_pass<Ops, kA, 2>(task, pass, pending);
  } else {
    run_pass<Ops, kA, 1>(task, pass, pending);
  }
}

// Steps [begin, begin + count) of one panel, of the k block that starts at `block`, for some row
// tiles.
struct Piece {
  int64_t tile_begin, tile_end;
  int64_t panel;
  int64_t block, block_steps;
  int64_t begin, count;
  const uint8_t* w_next;
  AmxA a;
};

// Where groups [group, group + groups) of A are read, and where a copy of them goes.
template <typename Task>
void place_a(const Task& task, const Piece& piece, int64_t group, int64_t groups, Pass& pass) {
  const int64_t copy_step = groups * kAmxTileBytes;
  pass.copy = task.a_pack;
  if (task.a_pack != nullptr) {
    pass.copy += (group - task.group_begin) * kAmxTileBytes * piece.block_steps +
                 (piece.begin - piece.block) * copy_step;
  }
  const bool from_copy = task.a_pack != nullptr && piece.a != AmxA::kCopy;
  pass.a_step = from_copy ? copy_step : kAmxStepK;
  const bool jumps = !from_copy && task.segment_steps > 0;
  pass.segment_left = jumps ? task.segment_steps - piece.begin % task.segment_steps : INT64_MAX;
  const int64_t offset =
      piece.begin * kAmxStepK + (jumps ? piece.begin / task.segment_steps * task.segment_jump : 0);
  for (int64_t g = 0; g < groups; ++g) {
    if (from_copy) {
      pass.a[g] = pass.copy + g * kAmxTileBytes;
      pass.stride[g] = 64;
      continue;
    }
    const bool tail = group + g == task.a_tail_group;
    pass.stride[g] = tail ? task.a_tail_stride : task.lda;
    pass.a[g] = (tail ? task.a_tail : task.a + (group + g) * kAmxRows * task.lda) + offset;
  }
}

template <typename Task>
int64_t row_tiles_of(const Task& task) {
  return (task.group_end - task.group_begin + task.tile_groups - 1) / task.tile_groups;
}

template <typename Ops>
void run_piece(const typename Ops::Task& task, const Piece& piece, PendingBlock<Ops>& pending) {
  constexpr int64_t kStepLines = kAmxStepWBytes / 64;
  const int64_t row_tiles = row_tiles_of(task);
  const int64_t lines = (kStepLines + row_tiles - 1) / row_tiles;
  for (int64_t tile = piece.tile_begin; tile < piece.tile_end; ++tile) {
    const int64_t group = task.group_begin + task.tile_groups * tile;
    const int64_t left = task.group_end - group;
    const int64_t groups = left < task.tile_groups ? left : task.tile_groups;
    Pass pass{};
    place_a(task, piece, group, groups, pass);
    pass.w = task.w + piece.panel * task.panel_bytes + piece.begin * kAmxStepWBytes;
    pass.steps = piece.count;
    pass.w_next = piece.w_next;
    pass.next_begin = tile * lines < kStepLines ? tile * lines : kStepLines;
    pass.next_end = pass.next_begin + lines < kStepLines ? pass.next_begin + lines : kStepLines;
    int64_t block = 0;
    if (task.k_steps > task.k_block_steps) {
      block = (piece.panel - task.panel_begin) * row_tiles + tile;
    } else if (task.k_steps > task.piece_steps) {
      block = tile;
    }
    pass.acc = task.acc + block * task.tile_groups * kAmxGroupAccElements;
    pass.first = piece.begin == 0;
    if (piece.a == AmxA::kCopy) {
      run_groups<Ops, AmxA::kCopy>(task, pass, pending, groups);
    } else if (piece.a == AmxA::kStream) {
      run_groups<Ops, AmxA::kStream>(task, pass, pending, groups);
    } else {
      run_groups<Ops, AmxA::kPlain>(task, pass, pending, groups);
    }
    if (piece.begin + piece.count == task.k_steps) {
      pending.columns = Ops::columns(task.epilogue, piece.panel * kAmxPanelCols);
      pending.acc = pass.acc;
      pending.row0 = group * kAmxRows;
      pending.col0 = piece.panel * kAmxPanelCols;
      pending.next = 0;
      const int64_t rows = groups * kAmxRows;
      pending.end = pending.row0 + rows <= task.m ? rows : task.m - pending.row0;
    }
  }
}

// The weights to prefetch during a piece, each row tile its share of them: the piece that comes
// next, or, when the row tiles come in several runs, the same piece of the next panel. With a
// single row tile a pass is short and the whole product waits for memory: then at most
// kAmxAheadSteps ahead, so that little is read without a prefetch at the start of a task.
template <typename Task>
const uint8_t* next_weights(const Task& task, const Piece& piece) {
  if (!task.prefetch_w) return nullptr;
  const uint8_t* const w = task.w + piece.panel * task.panel_bytes + piece.begin * kAmxStepWBytes;
  const int64_t row_tiles = row_tiles_of(task);
  const bool last_panel = piece.panel + 1 >= task.panel_end;
  if (row_tiles == 1 && piece.count > kAmxAheadSteps) return w + kAmxAheadSteps * kAmxStepWBytes;
  if (piece.tile_end - piece.tile_begin < row_tiles)
    return last_panel ? nullptr : w + task.panel_bytes;
  if (piece.begin + piece.count < piece.block + piece.block_steps)
    return w + piece.count * kAmxStepWBytes;
  if (last_panel) return nullptr;
  return task.w + (piece.panel + 1) * task.panel_bytes + piece.block * kAmxStepWBytes;
}

// All pieces of a k block of one panel, for some row tiles.
template <typename Ops>
void run_pieces(const typename Ops::Task& task, Piece piece, PendingBlock<Ops>& pending) {
  const int64_t end = piece.block + piece.block_steps;
  for (piece.begin = piece.block; piece.begin < end; piece.begin += piece.count) {
    piece.count = end - piece.begin < task.piece_steps ? end - piece.begin : task.piece_steps;
    piece.w_next = next_weights(task, piece);
    run_piece<Ops>(task, piece, pending);
  }
}

template <typename Ops>
void run_task(const typename Ops::Task& task) {
  PendingBlock<Ops> pending;
  const int64_t row_tiles = row_tiles_of(task);
  Ops::configure();
  for (int64_t block = 0; block < task.k_steps; block += task.k_block_steps) {
    Piece piece{};
    piece.block = block;
    piece.block_steps =
        task.k_steps - block < task.k_block_steps ? task.k_steps - block : task.k_block_steps;
    for (piece.panel = task.panel_begin; piece.panel < task.panel_end; ++piece.panel) {
      const bool copy = task.a_pack != nullptr && !task.a_packed && piece.panel == task.panel_begin;
      piece.a = copy ? AmxA::kCopy : task.stream_a ? AmxA::kStream : AmxA::kPlain;
      for (int64_t tile = 0; tile < row_tiles; tile += task.piece_tiles) {
        piece.tile_begin = tile;
        piece.tile_end = row_tiles - tile < task.piece_tiles ? row_tiles : tile + task.piece_tiles;
        run_pieces<Ops>(task, piece, pending);
      }
    }
  }
  pending.write(task.epilogue, kAmxMaxGroups * kAmxRows);
  Ops::release();
}

}  // namespace
}  // namespace intaglio
