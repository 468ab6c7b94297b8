// Driver of the AMX int8 GEMM: checks, blocking, threads; the kernel and the reasons of the blocking are in amx/amx_s8_gemm_kernel.h.
#if defined(INTAGLIO_X86)

#include "ops/cpu/s8_amx_gemm.h"

#include <algorithm>
#include <cstring>

#include "ops/cpu/s8_pack.h"
#include "ops/s8_gemm_implementations.h"

namespace intaglio {
namespace {

// Below this one thread is enough.
constexpr int64_t kSerialMacs = int64_t{2} << 20;
constexpr int64_t kMaxPanelsPerTask = 8;

using AmxPacking = S8Packing<S8AmxLayout>;

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
// The first item of run i when `count` items are cut into `parts` nearly equal runs.
int64_t run_begin(int64_t count, int64_t parts, int64_t i) {
  return i * (count / parts) + std::min(i, count % parts);
}

struct Plan {
  int64_t groups = 0;  // of 16 rows
  int64_t row_tiles = 0;
  int64_t m_blocks = 0;
  int64_t panels = 0;
  int64_t tasks_per_block = 0;
  int64_t k_steps = 0;
  int64_t k_block_steps = 0;
  int64_t piece_steps = 0;
  int64_t acc_elements = 0;  // a thread
  int threads = 1;
};

Plan make_plan(const S8GemmDesc& desc, int threads, const S8AmxTuning& tuning) {
  Plan plan;
  plan.groups = divide_up(desc.m, kAmxRows);
  plan.row_tiles = divide_up(plan.groups, 2);
  plan.panels = divide_up(desc.n, kS8PanelCols);
  plan.k_steps = divide_up(desc.k, kAmxStepK);
  plan.threads = desc.m * desc.n * desc.k <= kSerialMacs ? 1 : std::max(threads, 1);

  const int64_t k_blocks = divide_up(desc.k, std::max<int64_t>(tuning.k_block, kAmxStepK));
  plan.k_block_steps = divide_up(plan.k_steps, k_blocks);
  const int64_t pieces = divide_up(plan.k_block_steps, std::max<int64_t>(tuning.piece_steps, 1));
  plan.piece_steps = divide_up(plan.k_block_steps, pieces);

  const int64_t slice_row_bytes = plan.k_block_steps * kAmxStepK;
  const int64_t rows = std::min(tuning.block_rows, tuning.a_block_bytes / slice_row_bytes);
  const int64_t tiles_per_block = std::max<int64_t>(1, rows / (2 * kAmxRows));
  plan.m_blocks = divide_up(plan.row_tiles, tiles_per_block);
  // Enough pieces of work for every thread before rows are kept together.
  while (plan.panels * plan.m_blocks < 4 * plan.threads && plan.m_blocks * 2 <= plan.row_tiles)
    plan.m_blocks *= 2;
  const int64_t panels_per_task =
      std::clamp<int64_t>(plan.panels * plan.m_blocks / (8 * plan.threads), 1,
                          std::min(kMaxPanelsPerTask, plan.panels));
  plan.tasks_per_block = divide_up(plan.panels, panels_per_task);
  plan.acc_elements =
      kAmxAccElements * s8_amx_acc_blocks(divide_up(plan.row_tiles, plan.m_blocks),
                                          divide_up(plan.panels, plan.tasks_per_block),
                                          plan.k_steps, plan.k_block_steps, plan.piece_steps);
  return plan;
}

// Tiles read whole groups of 16 rows and 64 k. Only the ragged rows at the end are copied, unless k is ragged (all rows then).
int64_t copied_rows(const S8GemmDesc& desc) {
  return desc.k % kAmxStepK != 0 ? desc.m : desc.m % kAmxRows;
}

}  // namespace

size_t s8_amx_scratch_bytes(const S8GemmDesc& desc, int threads, const S8AmxTuning& tuning) {
  const Plan plan = make_plan(desc, threads, tuning);
  return arena_bytes<int8_t>(s8_round_up(copied_rows(desc), kAmxRows) * plan.k_steps * kAmxStepK) +
         arena_bytes<int32_t>(plan.acc_elements * std::max(threads, 1));
}

Status s8_amx_run(const Context& context, const S8GemmDesc& desc, const S8GemmArgs& args,
                  S8AmxKernel kernel, const S8AmxTuning& tuning) {
  INTAGLIO_TRY(check_s8_gemm(desc, args));
  if (context.scratch == nullptr)
    return make_error(ErrorCode::kInvalidArgument, "s8_gemm: the context has no scratch memory");
  const Plan plan = make_plan(desc, context.threads, tuning);
  const Arena::Scope scope(*context.scratch);
  const int64_t padded_k = plan.k_steps * kAmxStepK;
  const int64_t copied = copied_rows(desc);
  const int64_t padded_copied = s8_round_up(copied, kAmxRows);
  INTAGLIO_ASSIGN(int8_t * copy, context.scratch->take<int8_t>(padded_copied * padded_k));
  INTAGLIO_ASSIGN(int32_t * acc,
                  context.scratch->take<int32_t>(plan.acc_elements * std::max(context.threads, 1)));

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
  common.k_steps = plan.k_steps;
  common.k_block_steps = plan.k_block_steps;
  common.piece_steps = plan.piece_steps;
  common.prefetch_a = tuning.prefetch_a;
  common.prefetch_w = tuning.prefetch_w;
  common.epilogue = make_s8_epilogue(desc, args);

  parallel_for(plan.threads, plan.m_blocks * plan.tasks_per_block, 1,
               [&](int64_t begin, int64_t end, int thread) {
                 for (int64_t index = begin; index < end; ++index) {
                   const int64_t block = index / plan.tasks_per_block;
                   const int64_t part = index % plan.tasks_per_block;
                   S8AmxTask task = common;
                   task.group_begin = 2 * run_begin(plan.row_tiles, plan.m_blocks, block);
                   task.group_end = std::min(
                       plan.groups, 2 * run_begin(plan.row_tiles, plan.m_blocks, block + 1));
                   task.panel_begin = run_begin(plan.panels, plan.tasks_per_block, part);
                   task.panel_end = run_begin(plan.panels, plan.tasks_per_block, part + 1);
                   task.acc = acc + thread * plan.acc_elements;
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

size_t scratch_bytes(const S8GemmDesc& desc, int threads) {
  return s8_amx_scratch_bytes(desc, threads, {});
}

Status run(const Context& context, const S8GemmDesc& desc, const S8GemmArgs& args) {
  return s8_amx_run(context, desc, args, amx_s8_task, {});
}

}  // namespace

extern const S8GemmImplementation kAmxS8Gemm{
    "amx_s8_gemm", can_run, AmxPacking::packed_bytes, AmxPacking::pack, AmxPacking::unpack_rows,
    scratch_bytes, run};

}  // namespace intaglio

#endif  // INTAGLIO_X86
