// int8 GEMM on AMX tiles, written over a policy `Ops` so that emulated tiles run the same blocking in tests.
//
//   tdpbssd acc[16 rows][16 cols] += a[16 rows][64 k] * w[16 rows of 4 k][16 cols][4 k]       s8 x s8, exact in int32
//
//             w0       w1           tiles 0..3 accumulate 32 x 32 outputs, 4 and 5 hold A, 6 and 7 hold W.
//          +-------+-------+        One step (64 k): 4 tile loads and 4 products. A product takes 16 cycles, a load 8 (two 64-byte
//      a0  | acc 0 | acc 1 |        rows a cycle from L1), so loads take 32 of the 64 cycles of a step: the products are the limit.
//          +-------+-------+        65536 multiply-adds in 64 cycles = 2048 op a cycle, the peak of a core.
//      a1  | acc 2 | acc 3 |
//          +-------+-------+
//
// Where the operands come from. All of a step from L2 would be 4 KiB in 64 cycles = 64 bytes a cycle, more than L2 sustains (about 48). So k is
// cut into pieces of piece_steps: a piece of a panel (16 steps: 32 KiB) stays in L1 while all row tiles of the M block pass; the sums
// wait in `acc` between the pieces. L2 then gives A at 32 bytes a cycle and the sums at 8 (16 steps: 8 KiB in 1024 cycles).
// The M block of A stays in L2; a panel is read from L3 once an M block: 256 rows make it 1024 / 256 = 4 bytes a cycle, prefetched a piece ahead.
// When k is longer than k_block, A's slice of k_block is used with all panels of the task before the next slice.
//
// The epilogue of a finished tile is spread over the steps of the next one, where the vector units are idle.
#pragma once

#include <cstdint>

#include "ops/cpu/s8_amx_task.h"

namespace intaglio {
namespace {

// A finished 32 x 32 block whose rows [next, end) still have to be written.
template <typename Ops>
struct PendingBlock {
  typename Ops::Columns columns;
  const int32_t* acc = nullptr;
  int64_t row0 = 0;
  int64_t col0 = 0;
  int64_t next = 0;
  int64_t end = 0;

  void write(const S8Epilogue& epilogue, int64_t rows) {
    for (; rows > 0 && next < end; --rows, ++next) {
      Ops::epilogue_row(epilogue, columns, acc + next * kS8PanelCols, row0 + next, col0);
    }
  }
};

// One piece of k of one row tile.
struct Pass {
  const int8_t* a0;
  const int8_t* a1;
  int64_t stride0, stride1;
  const uint8_t* w;
  int64_t steps;
  const uint8_t* w_next;         // the piece after this one, or nullptr
  int64_t next_begin, next_end;  // lines of 64 bytes of each step of it that this pass prefetches
  int32_t* acc;
  bool first;
};

template <typename Ops>
void prefetch_rows(const int8_t* a, int64_t stride) {
  for (int r = 0; r < kAmxRows; ++r) Ops::prefetch_l1(a + r * stride);
}

template <typename Ops, bool kTwoGroups>
void run_pass(const S8AmxTask& task, const Pass& pass, PendingBlock<Ops>& pending) {
  constexpr int64_t kAccStride = kS8PanelCols * sizeof(int32_t);
  int32_t* const acc1 = pass.acc + kAmxRows * kS8PanelCols;
  if (pass.first) {
    Ops::template zero<0>();
    Ops::template zero<1>();
    if constexpr (kTwoGroups) {
      Ops::template zero<2>();
      Ops::template zero<3>();
    }
  } else {
    Ops::template load<0>(pass.acc, kAccStride);
    Ops::template load<1>(pass.acc + 16, kAccStride);
    if constexpr (kTwoGroups) {
      Ops::template load<2>(acc1, kAccStride);
      Ops::template load<3>(acc1 + 16, kAccStride);
    }
  }
  const int64_t pending_rows = (pending.end - pending.next + pass.steps - 1) / pass.steps;
  for (int64_t s = 0; s < pass.steps; ++s) {
    const int8_t* a0 = pass.a0 + s * kAmxStepK;
    const int8_t* a1 = pass.a1 + s * kAmxStepK;
    const uint8_t* w = pass.w + s * 2 * kAmxTileBytes;
    Ops::template load<6>(w, 64);
    Ops::template load<4>(a0, pass.stride0);
    Ops::template dot<0, 4, 6>();
    if constexpr (kTwoGroups) {
      Ops::template load<5>(a1, pass.stride1);
      Ops::template dot<2, 5, 6>();
    }
    Ops::template load<7>(w + kAmxTileBytes, 64);
    Ops::template dot<1, 4, 7>();
    if constexpr (kTwoGroups) Ops::template dot<3, 5, 7>();
    if (pass.w_next != nullptr) {
      const uint8_t* next = pass.w_next + s * 2 * kAmxTileBytes;
      for (int64_t line = pass.next_begin; line < pass.next_end; ++line)
        Ops::prefetch_l2(next + line * 64);
    }
    if (task.prefetch_a > 0) {
      prefetch_rows<Ops>(a0 + task.prefetch_a * kAmxStepK, pass.stride0);
      if constexpr (kTwoGroups) prefetch_rows<Ops>(a1 + task.prefetch_a * kAmxStepK, pass.stride1);
    }
    pending.write(task.epilogue, pending_rows);
  }
  // The waiting block is written by now, so its memory may be this one's.
  Ops::template store<0>(pass.acc, kAccStride);
  Ops::template store<1>(pass.acc + 16, kAccStride);
  if constexpr (kTwoGroups) {
    Ops::template store<2>(acc1, kAccStride);
    Ops::template store<3>(acc1 + 16, kAccStride);
  }
}

inline const int8_t* group_rows(const S8AmxTask& task, int64_t group, int64_t step,
                                int64_t* stride) {
  const bool tail = group == task.a_tail_group;
  *stride = tail ? task.a_tail_stride : task.lda;
  return (tail ? task.a_tail : task.a + group * kAmxRows * task.lda) + step * kAmxStepK;
}

// All row tiles of the task times steps [step, step + steps) of `panel`.
template <typename Ops>
void run_piece(const S8AmxTask& task, int64_t panel, int64_t step, int64_t steps,
               const uint8_t* w_next, PendingBlock<Ops>& pending) {
  const int64_t row_tiles = (task.group_end - task.group_begin + 1) / 2;
  const int64_t lines = (32 + row_tiles - 1) / row_tiles;
  const bool first = step == 0;
  const bool last = step + steps == task.k_steps;
  for (int64_t tile = 0; tile < row_tiles; ++tile) {
    const int64_t group = task.group_begin + 2 * tile;
    const bool two = group + 1 < task.group_end;
    Pass pass{};
    pass.a0 = group_rows(task, group, step, &pass.stride0);
    pass.a1 = two ? group_rows(task, group + 1, step, &pass.stride1) : pass.a0;
    pass.w = task.w + panel * task.panel_bytes + step * 2 * kAmxTileBytes;
    pass.steps = steps;
    pass.w_next = w_next;
    pass.next_begin = tile * lines < 32 ? tile * lines : 32;
    pass.next_end = pass.next_begin + lines < 32 ? pass.next_begin + lines : 32;
    int64_t block = 0;
    if (task.k_steps > task.k_block_steps) {
      block = (panel - task.panel_begin) * row_tiles + tile;
    } else if (task.k_steps > task.piece_steps) {
      block = tile;
    }
    pass.acc = task.acc + block * kAmxAccElements;
    pass.first = first;
    if (two) {
      run_pass<Ops, true>(task, pass, pending);
    } else {
      run_pass<Ops, false>(task, pass, pending);
    }
    if (last) {
      pending.columns = Ops::columns(task.epilogue, panel * kS8PanelCols);
      pending.acc = pass.acc;
      pending.row0 = group * kAmxRows;
      pending.col0 = panel * kS8PanelCols;
      pending.next = 0;
      const int64_t rows = two ? 2 * kAmxRows : kAmxRows;
      pending.end = pending.row0 + rows <= task.m ? rows : task.m - pending.row0;
    }
  }
}

template <typename Ops>
void run_task(const S8AmxTask& task) {
  PendingBlock<Ops> pending;
  Ops::configure();
  for (int64_t block = 0; block < task.k_steps; block += task.k_block_steps) {
    const int64_t block_end =
        block + task.k_block_steps < task.k_steps ? block + task.k_block_steps : task.k_steps;
    for (int64_t panel = task.panel_begin; panel < task.panel_end; ++panel) {
      for (int64_t step = block; step < block_end; step += task.piece_steps) {
        const int64_t steps =
            block_end - step < task.piece_steps ? block_end - step : task.piece_steps;
        const uint8_t* next = nullptr;
        if (task.prefetch_w) {
          if (step + steps < block_end) {
            next = task.w + panel * task.panel_bytes + (step + steps) * 2 * kAmxTileBytes;
          } else if (panel + 1 < task.panel_end) {
            next = task.w + (panel + 1) * task.panel_bytes + block * 2 * kAmxTileBytes;
          }
        }
        run_piece<Ops>(task, panel, step, steps, next, pending);
      }
    }
  }
  pending.write(task.epilogue, 2 * kAmxRows);
  Ops::release();
}

}  // namespace
}  // namespace intaglio
