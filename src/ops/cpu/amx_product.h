// Scratch and threads of one matrix product on AMX tiles, the same for int8 and bf16.
#pragma once

#include <algorithm>
#include <cstring>

#include "core/context.h"
#include "core/parallel_tasks.h"
#include "ops/cpu/amx_blocking.h"
#include "ops/cpu/amx_task.h"

namespace intaglio {

template <typename Epilogue>
struct AmxProduct {
  AmxSizes sizes;
  const int8_t* a = nullptr;
  int64_t lda = 0;             // bytes
  const uint8_t* w = nullptr;  // packed panels, k padded to whole steps
  Epilogue epilogue;
  void (*kernel)(const AmxTask<Epilogue>&) = nullptr;
};

// What a thread keeps from task to task; a cache line each.
struct alignas(kCacheLine) AmxThreadState {
  int64_t packed_block;  // the M block whose slice of A is in the thread's copy, or -1
};

// Tiles read whole groups of 16 rows and 64 bytes. Only the ragged rows at the end are copied,
// unless k is ragged (all rows then).
inline int64_t amx_copied_rows(const AmxSizes& sizes) {
  return sizes.k_bytes % kAmxStepK != 0 ? sizes.m : sizes.m % kAmxRows;
}

inline int64_t amx_padded_rows(int64_t rows) { return (rows + kAmxRows - 1) / kAmxRows * kAmxRows; }

inline size_t amx_product_scratch_bytes(const AmxSizes& sizes, const AmxPlan& plan) {
  return arena_bytes<int8_t>(amx_padded_rows(amx_copied_rows(sizes)) * plan.k_steps * kAmxStepK) +
         arena_bytes<int32_t>(plan.acc_elements * plan.threads) +
         arena_bytes<int8_t>(plan.pack_bytes * plan.threads) +
         arena_bytes<AmxThreadState>(plan.threads);
}

template <typename Epilogue>
Status run_amx_product(const Context& context, const AmxProduct<Epilogue>& product,
                       const AmxTuning& tuning) {
  const AmxSizes& sizes = product.sizes;
  const AmxPlan plan = amx_plan(sizes, context.threads, tuning);
  const Arena::Scope scope(*context.scratch);
  const int64_t padded_k = plan.k_steps * kAmxStepK;
  const int64_t copied = amx_copied_rows(sizes);
  const int64_t padded_copied = amx_padded_rows(copied);
  INTAGLIO_ASSIGN(int8_t* const copy, context.scratch->take<int8_t>(padded_copied * padded_k));
  INTAGLIO_ASSIGN(int32_t* const acc,
                  context.scratch->take<int32_t>(plan.acc_elements * plan.threads));
  INTAGLIO_ASSIGN(int8_t* const pack,
                  context.scratch->take<int8_t>(plan.pack_bytes * plan.threads));
  INTAGLIO_ASSIGN(AmxThreadState* const states,
                  context.scratch->take<AmxThreadState>(plan.threads));
  std::fill_n(states, plan.threads, AmxThreadState{-1});

  const int64_t first_copied = sizes.m - copied;
  const int copy_threads = padded_copied <= kAmxRows ? 1 : plan.threads;
  INTAGLIO_TRY(parallel_tasks(
      context, copy_threads, padded_copied, kAmxRows, [&](int64_t begin, int64_t end, int) {
        for (int64_t r = begin; r < end; ++r) {
          const size_t bytes = r < copied ? static_cast<size_t>(sizes.k_bytes) : 0;
          if (bytes > 0)
            std::memcpy(copy + r * padded_k, product.a + (first_copied + r) * product.lda, bytes);
          std::memset(copy + r * padded_k + bytes, 0, static_cast<size_t>(padded_k) - bytes);
        }
      }));

  AmxTask<Epilogue> common{};
  common.a = copied == sizes.m ? copy : product.a;
  common.lda = copied == sizes.m ? padded_k : product.lda;
  common.a_tail = copy;
  common.a_tail_stride = padded_k;
  common.a_tail_group = copied > 0 && copied < sizes.m ? plan.groups - 1 : -1;
  common.m = sizes.m;
  common.w = product.w;
  common.panel_bytes = plan.k_steps * kAmxStepWBytes;
  common.tile_groups = plan.tile_groups;
  common.k_steps = plan.k_steps;
  common.k_block_steps = plan.k_block_steps;
  common.piece_steps = plan.piece_steps;
  common.piece_tiles = std::max<int64_t>(tuning.piece_tiles, 1);
  common.prefetch_a = tuning.prefetch_a;
  common.prefetch_w = tuning.prefetch_w;
  common.stream_a = tuning.stream_a;
  common.epilogue = product.epilogue;

  // Tasks of one M block follow one another, so a thread that takes several of them finds its copy
  // of A in place.
  INTAGLIO_TRY(parallel_tasks(
      context, plan.threads, plan.m_blocks * plan.tasks_per_block, 1,
      [&](int64_t begin, int64_t end, int thread) {
        for (int64_t index = begin; index < end; ++index) {
          const int64_t block = index / plan.tasks_per_block;
          const int64_t part = index % plan.tasks_per_block;
          AmxTask<Epilogue> task = common;
          task.group_begin = plan.tile_groups * amx_run_begin(plan.row_tiles, plan.m_blocks, block);
          task.group_end =
              std::min(plan.groups,
                       plan.tile_groups * amx_run_begin(plan.row_tiles, plan.m_blocks, block + 1));
          task.panel_begin = amx_run_begin(plan.panels, plan.tasks_per_block, part);
          task.panel_end = amx_run_begin(plan.panels, plan.tasks_per_block, part + 1);
          task.acc = acc + thread * plan.acc_elements;
          if (plan.pack_bytes > 0) {
            task.a_pack = pack + thread * plan.pack_bytes;
            // With several slices of k the copy holds the last one.
            task.a_packed =
                plan.k_steps == plan.k_block_steps && states[thread].packed_block == block;
            states[thread].packed_block = block;
          }
          product.kernel(task);
        }
      }));
  return {};
}

}  // namespace intaglio
