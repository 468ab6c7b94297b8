// Blocking of the AMX matrix products as pure functions; the loops are in amx/amx_gemm_kernel.h,
// the arithmetic behind the figures in docs/kernels/cpu_s8_gemm.md.
#pragma once

#include <cstddef>
#include <cstdint>

#include "ops/cpu/amx_task.h"

namespace intaglio {

// One product; k in bytes, so that an int8 and a bf16 product of the same bytes are blocked alike.
struct AmxSizes {
  int64_t m = 0, n = 0, k_bytes = 0;
};

// The defaults are what runs when nobody says otherwise.
struct AmxTuning {
  int64_t tile_groups = 2;     // groups of 16 rows accumulated at once: 2 or 3
  int64_t piece_steps = 1024;  // most k steps (of 64) between loads and stores of the sums
  int64_t piece_tiles = 1024;  // row tiles that share a piece of the weights before the next piece
  int64_t k_block = 5120;      // depth of the slice of A that stays in L2
  int64_t a_block_bytes = 1344 << 10;  // size of that slice
  int64_t block_rows = 256;            // and its most rows
  int64_t slice_panels = 16;           // most panels that share a slice when k has several
  bool pack_a = true;                  // copy the slice into the order of use
  int64_t pack_bytes =
      128 << 10;          // if it is at least so large: a smaller one crowds no cache and few pages
  bool stream_a = false;  // hint that L1 need not keep A
  int prefetch_a = 0;     // k steps by which A is prefetched from L2 to L1, 0 = not
  bool prefetch_w = true;  // the next piece of the weights from L3 to L2
};

struct AmxPlan {
  int64_t groups = 0;  // of 16 rows
  int64_t tile_groups = 0;
  int64_t row_tiles = 0;
  int64_t m_blocks = 0;
  int64_t panels = 0;
  int64_t tasks_per_block = 0;
  int64_t k_steps = 0;
  int64_t k_block_steps = 0;
  int64_t piece_steps = 0;
  int64_t acc_elements = 0;  // a thread
  int64_t pack_bytes = 0;    // a thread; 0: A is not copied
  int threads = 1;
};

AmxPlan amx_plan(const AmxSizes& sizes, int threads, const AmxTuning& tuning);

// The first item of run i when `count` items are cut into `parts` nearly equal runs.
inline constexpr int64_t amx_run_begin(int64_t count, int64_t parts, int64_t i) {
  const int64_t rest = count % parts;
  return i * (count / parts) + (i < rest ? i : rest);
}

}  // namespace intaglio
