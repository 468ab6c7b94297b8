// Driver of the AMX int8 GEMM: checks, scratch, threads. The loops are in amx/amx_s8_gemm_kernel.h, the blocking in s8_amx_blocking.cpp.
#if defined(INTAGLIO_X86)

#include "ops/cpu/s8_amx_gemm.h"

#include <algorithm>
#include <cstring>

#include "ops/cpu/s8_pack.h"
#include "ops/s8_gemm_implementations.h"

namespace intaglio {
namespace {

using AmxPacking = S8Packing<S8AmxLayout>;

// Tiles read whole groups of 16 rows and 64 k. Only the ragged rows at the end are copied, unless k is ragged (all rows then).
int64_t copied_rows(const S8GemmDesc& desc) {
  return desc.k % kAmxStepK != 0 ? desc.m : desc.m % kAmxRows;
}

// What a thread keeps from task to task; a cache line each.
struct alignas(kCacheLine) ThreadState {
  int64_t packed_block;  // the M block whose slice of A is in the thread's copy, or -1
};

}  // namespace

size_t s8_amx_scratch_bytes(const S8GemmDesc& desc, int threads, const S8AmxTuning& tuning) {
  const S8AmxPlan plan = s8_amx_plan(desc, threads, tuning);
  return arena_bytes<int8_t>(s8_round_up(copied_rows(desc), kAmxRows) * plan.k_steps * kAmxStepK) +
         arena_bytes<int32_t>(plan.acc_elements * plan.threads) +
         arena_bytes<int8_t>(plan.pack_bytes * plan.threads) +
         arena_bytes<ThreadState>(plan.threads);
}

Status s8_amx_run(const Context& context, const S8GemmDesc& desc, const S8GemmArgs& args,
                  S8AmxKernel kernel, const S8AmxTuning& tuning) {
  INTAGLIO_TRY(check_s8_gemm(desc, args));
  if (context.scratch == nullptr)
    return make_error(ErrorCode::kInvalidArgument, "s8_gemm: the context has no scratch memory");
  const S8AmxPlan plan = s8_amx_plan(desc, context.threads, tuning);
  const Arena::Scope scope(*context.scratch);
  const int64_t padded_k = plan.k_steps * kAmxStepK;
  const int64_t copied = copied_rows(desc);
  const int64_t padded_copied = s8_round_up(copied, kAmxRows);
  INTAGLIO_ASSIGN(int8_t* const copy, context.scratch->take<int8_t>(padded_copied * padded_k));
  INTAGLIO_ASSIGN(int32_t* const acc,
                  context.scratch->take<int32_t>(plan.acc_elements * plan.threads));
  INTAGLIO_ASSIGN(int8_t* const pack,
                  context.scratch->take<int8_t>(plan.pack_bytes * plan.threads));
  INTAGLIO_ASSIGN(ThreadState* const states, context.scratch->take<ThreadState>(plan.threads));
  std::fill_n(states, plan.threads, ThreadState{-1});

  const int64_t first_copied = desc.m - copied;
  const int copy_threads = padded_copied <= kAmxRows ? 1 : plan.threads;
  parallel_for(copy_threads, padded_copied, kAmxRows, [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; ++r) {
      const size_t bytes = r < copied ? static_cast<size_t>(desc.k) : 0;
      if (bytes > 0)
        std::memcpy(copy + r * padded_k, args.a + (first_copied + r) * args.lda, bytes);
      std::memset(copy + r * padded_k + bytes, 0, static_cast<size_t>(padded_k) - bytes);
    }
  });

  S8AmxTask common{};
  common.a = copied == desc.m ? copy : args.a;
  common.lda = copied == desc.m ? padded_k : args.lda;
  common.a_tail = copy;
  common.a_tail_stride = padded_k;
  common.a_tail_group = copied > 0 && copied < desc.m ? plan.groups - 1 : -1;
  common.m = desc.m;
  common.w = static_cast<const uint8_t*>(args.w_packed);
  common.panel_bytes = AmxPacking::panel_bytes(desc.k);
  common.tile_groups = plan.tile_groups;
  common.k_steps = plan.k_steps;
  common.k_block_steps = plan.k_block_steps;
  common.piece_steps = plan.piece_steps;
  common.piece_tiles = std::max<int64_t>(tuning.piece_tiles, 1);
  common.prefetch_a = tuning.prefetch_a;
  common.prefetch_w = tuning.prefetch_w;
  common.stream_a = tuning.stream_a;
  common.epilogue = make_s8_epilogue(desc, args);

  // Tasks of one M block follow one another, so a thread that takes several of them finds its copy of A in place.
  parallel_for(plan.threads, plan.m_blocks * plan.tasks_per_block, 1,
               [&](int64_t begin, int64_t end, int thread) {
                 for (int64_t index = begin; index < end; ++index) {
                   const int64_t block = index / plan.tasks_per_block;
                   const int64_t part = index % plan.tasks_per_block;
                   S8AmxTask task = common;
                   task.group_begin =
                       plan.tile_groups * s8_amx_run_begin(plan.row_tiles, plan.m_blocks, block);
                   task.group_end = std::min(
                       plan.groups, plan.tile_groups *
                                        s8_amx_run_begin(plan.row_tiles, plan.m_blocks, block + 1));
                   task.panel_begin = s8_amx_run_begin(plan.panels, plan.tasks_per_block, part);
                   task.panel_end = s8_amx_run_begin(plan.panels, plan.tasks_per_block, part + 1);
                   task.acc = acc + thread * plan.acc_elements;
                   if (plan.pack_bytes > 0) {
                     task.a_pack = pack + thread * plan.pack_bytes;
                     // With several slices of k the copy holds the last one.
                     task.a_packed =
                         plan.k_steps == plan.k_block_steps && states[thread].packed_block == block;
                     states[thread].packed_block = block;
                   }
                   kernel(task);
                 }
               });
  return {};
}

namespace {

Refusal can_run(const S8GemmDesc& desc, const Context& context) {
  if (context.cpu.isa < CpuIsa::kAmx) return "needs AMX-INT8";
  return refuse_s8_gemm_desc(desc);
}

size_t scratch_bytes(const S8GemmDesc& desc, const Context& context) {
  return s8_amx_scratch_bytes(desc, context.threads, S8AmxTuning{});
}

Status run(const Context& context, const S8GemmDesc& desc, const S8GemmArgs& args) {
  return s8_amx_run(context, desc, args, amx_s8_task, S8AmxTuning{});
}

}  // namespace

extern const S8GemmImplementation kAmxS8Gemm{
    "amx_s8_gemm", can_run, AmxPacking::packed_bytes, AmxPacking::pack, AmxPacking::unpack_rows,
    scratch_bytes, run};

}  // namespace intaglio

#endif  // INTAGLIO_X86
