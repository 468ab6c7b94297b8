#if defined(INTAGLIO_X86)

#include "ops/cpu/amx_blocking.h"

#include <algorithm>

namespace intaglio {
namespace {

// Below this one thread is enough. Counted with whole groups of rows: with few rows what takes time
// are the weights, 128 KiB here.
constexpr int64_t kSerialMacs = int64_t{2} << 20;
// A task costs about 0.3 us (counter shared by the threads, tile configuration, the last block's
// epilogue alone): 4 M multiply-adds, 2 us at the peak of a core, keep that below a sixth; then as
// many tasks as even out threads of unequal speed.
constexpr int64_t kTaskMacs = int64_t{4} << 20;
constexpr int64_t kTasksPerThread = 8;
// A copy of A costs one more store a tile: with fewer panels it is not earned back.
constexpr int64_t kPackPanels = 4;

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Blocks of acc a task needs: the sums of whatever is waiting for its next piece of k.
int64_t acc_blocks(const AmxPlan& plan, int64_t row_tiles, int64_t panels) {
  if (plan.k_steps > plan.k_block_steps) return row_tiles * panels;
  return plan.k_steps > plan.piece_steps ? row_tiles : 1;
}

}  // namespace

AmxPlan amx_plan(const AmxSizes& sizes, int threads, const AmxTuning& tuning) {
  AmxPlan plan;
  plan.tile_groups = std::clamp<int64_t>(tuning.tile_groups, 2, kAmxMaxGroups);
  plan.groups = divide_up(sizes.m, kAmxRows);
  plan.row_tiles = divide_up(plan.groups, plan.tile_groups);
  plan.panels = divide_up(sizes.n, kAmxPanelCols);
  plan.k_steps = divide_up(sizes.k_bytes, kAmxStepK);
  const int64_t macs = plan.groups * kAmxRows * sizes.n * sizes.k_bytes;
  plan.threads = macs <= kSerialMacs ? 1 : std::max(threads, 1);

  // Equal slices of k, and equal pieces of a slice.
  const int64_t k_blocks = divide_up(sizes.k_bytes, std::max<int64_t>(tuning.k_block, kAmxStepK));
  plan.k_block_steps = divide_up(plan.k_steps, k_blocks);
  const int64_t pieces = divide_up(plan.k_block_steps, std::max<int64_t>(tuning.piece_steps, 1));
  plan.piece_steps = divide_up(plan.k_block_steps, pieces);

  const int64_t slice_row_bytes = plan.k_block_steps * kAmxStepK;
  const int64_t rows = std::min(tuning.block_rows, tuning.a_block_bytes / slice_row_bytes);
  const int64_t tiles_per_block = std::max<int64_t>(1, rows / (plan.tile_groups * kAmxRows));
  plan.m_blocks = divide_up(plan.row_tiles, tiles_per_block);
  // Enough pieces of work for every thread before rows are kept together.
  while (plan.panels * plan.m_blocks < 4 * plan.threads && plan.m_blocks * 2 <= plan.row_tiles)
    plan.m_blocks *= 2;

  const int64_t tasks =
      std::clamp<int64_t>(macs / kTaskMacs, plan.threads, kTasksPerThread * plan.threads);
  const int64_t most = plan.k_steps > plan.k_block_steps
                           ? std::max<int64_t>(1, std::min(tuning.slice_panels, plan.panels))
                           : plan.panels;
  const int64_t panels_per_task = std::clamp<int64_t>(plan.panels * plan.m_blocks / tasks, 1, most);
  plan.tasks_per_block = divide_up(plan.panels, panels_per_task);

  const int64_t block_tiles = divide_up(plan.row_tiles, plan.m_blocks);
  plan.acc_elements = kAmxGroupAccElements * plan.tile_groups *
                      acc_blocks(plan, block_tiles, divide_up(plan.panels, plan.tasks_per_block));
  const int64_t slice_bytes = block_tiles * plan.tile_groups * kAmxRows * slice_row_bytes;
  if (tuning.pack_a && panels_per_task >= kPackPanels && slice_bytes >= tuning.pack_bytes)
    plan.pack_bytes = slice_bytes;
  return plan;
}

}  // namespace intaglio

#endif  // INTAGLIO_X86
