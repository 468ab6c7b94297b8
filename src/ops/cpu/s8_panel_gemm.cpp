// Driver of the vector int8 GEMMs (AVX512-VNNI and AVX2): checks, blocking, threads. The kernels
// are in avx512vnni/ and avx2/.
//
//            n: panels of 32 columns                 A is repacked into tiles of at most 14 (AVX2: 6) rows, [k group][row][group], so that a tile is
//         +----+----+----+----+                      one stream; the pass also sums the rows (VNNI compensation).
//   m     | W  |    |    |    |  k                   k is cut into pieces of kKBlock. A piece of an M block of A (at most kABlockBytes) stays in L2
//  +---+  +----+----+----+----+                      while the panels of a task stream past it, so W is read once an M block; a piece of a panel
//  | A | -> M block x panel -> acc[rows][32]         stays in L2 between the tiles. acc carries the sums from piece to piece.
//  +---+                                             Threads take (M block, some panels) pairs.
#if defined(INTAGLIO_X86)

#include <algorithm>

#include "core/parallel_tasks.h"
#include "ops/cpu/s8_gemm_implementations.h"
#include "ops/cpu/s8_pack.h"

namespace intaglio {
namespace {

constexpr int64_t kABlockBytes = 512 << 10;
constexpr int64_t kKBlock = 4608;
// Panels that share a slice of A when k has several pieces.
constexpr int64_t kSlicePanels = 8;
// Work below which another thread or another task costs more than it brings.
constexpr int64_t kTaskMacs = int64_t{2} << 20;
// A parallel region costs a few microseconds: what one thread packs (10 bytes a ns) or multiplies
// (200 products a ns) in that time stays serial.
constexpr int64_t kSerialPackBytes = 256 << 10;
constexpr int64_t kSerialMacs = int64_t{1} << 20;

struct PanelKernel {
  int tile_rows;
  int k_group;
  int a_group_bytes;  // bytes of one packed group of a row of A
  int w_group_bytes;  // bytes from one group of a panel to the next
  void (*tile)(const S8Tile&);
  void (*pack_rows)(const int8_t* a, int64_t lda, int rows, int64_t k, int8_t* packed,
                    int32_t* init_row);
  void (*epilogue)(const S8Epilogue&, const int32_t* acc, int64_t row0, int64_t rows, int64_t col0);
};

constexpr PanelKernel kVnniKernel{
    kVnniTileRows,     4, 4, 4 * kS8PanelCols, avx512vnni_s8_tile, avx512vnni_s8_pack_rows,
    avx512_s8_epilogue};
constexpr PanelKernel kAvx2Kernel{
    kAvx2TileRows, 2, 4, kS8PanelCols, avx2_s8_tile, avx2_s8_pack_rows, avx2_s8_epilogue};

// `count` items in `parts` nearly equal runs: the first item of run i.
int64_t run_begin(int64_t count, int64_t parts, int64_t i) {
  return i * (count / parts) + std::min(i, count % parts);
}

struct Plan {
  int64_t groups = 0;       // k groups
  int64_t a_row_bytes = 0;  // bytes of a packed row of A
  int64_t panel_bytes = 0;
  int64_t panels = 0;
  int64_t tiles = 0;     // row tiles
  int64_t m_blocks = 0;  // runs of tiles
  int64_t k_block_groups = 0;
  int64_t block_rows = 0;  // most rows of an M block
  int64_t acc_rows = 0;    // rows of acc a thread needs
  int64_t panels_per_task = 0;
  int threads = 1;
};

Plan make_plan(const PanelKernel& kernel, const S8GemmDesc& desc, int threads) {
  Plan plan;
  plan.groups = (desc.k + kernel.k_group - 1) / kernel.k_group;
  plan.a_row_bytes = plan.groups * kernel.a_group_bytes;
  plan.panel_bytes = plan.groups * kernel.k_group * kS8PanelCols;
  plan.panels = (desc.n + kS8PanelCols - 1) / kS8PanelCols;
  plan.tiles = (desc.m + kernel.tile_rows - 1) / kernel.tile_rows;
  const int64_t k_blocks = (desc.k + kKBlock - 1) / kKBlock;
  plan.k_block_groups = (plan.groups + k_blocks - 1) / k_blocks;
  const int64_t tile_slice_bytes = plan.k_block_groups * kernel.a_group_bytes * kernel.tile_rows;
  const int64_t tiles_per_block = std::max<int64_t>(1, kABlockBytes / tile_slice_bytes);
  plan.m_blocks = (plan.tiles + tiles_per_block - 1) / tiles_per_block;
  plan.block_rows = (plan.tiles + plan.m_blocks - 1) / plan.m_blocks * kernel.tile_rows;
  plan.threads = desc.m * desc.n * desc.k <= kSerialMacs ? 1 : std::max(threads, 1);
  const int64_t panel_macs = (desc.m + plan.m_blocks - 1) / plan.m_blocks * kS8PanelCols * desc.k;
  const int64_t most = std::max<int64_t>(1, plan.panels * plan.m_blocks / plan.threads);
  const int64_t least = k_blocks == 1 ? 1 : std::min(kSlicePanels, most);
  plan.panels_per_task = std::min(std::clamp(kTaskMacs / panel_macs, least, most), plan.panels);
  plan.acc_rows = k_blocks == 1 ? kernel.tile_rows : plan.block_rows * plan.panels_per_task;
  return plan;
}

int64_t acc_elements(const Plan& plan, int threads) {
  return plan.acc_rows * kS8PanelCols * std::max(threads, 1);
}

size_t scratch_bytes(const PanelKernel& kernel, const S8GemmDesc& desc, int threads) {
  const Plan plan = make_plan(kernel, desc, threads);
  return arena_bytes<int8_t>(plan.a_row_bytes * desc.m) + arena_bytes<int32_t>(desc.m) +
         arena_bytes<int32_t>(acc_elements(plan, threads));
}

struct Operands {
  const int8_t* a;
  const int32_t* a_init;
  const uint8_t* w;
  int32_t* acc;
};

// One M block and some panels.
struct Block {
  int64_t m_block;
  int64_t panel_begin, panel_end;
};

// Groups [group, group + groups) of every tile of the block times one panel.
void run_piece(const PanelKernel& kernel, const Plan& plan, const S8GemmDesc& desc,
               const S8Epilogue& epilogue, const Operands& operands, const Block& block,
               int64_t panel, int64_t group) {
  const int64_t tile_begin = run_begin(plan.tiles, plan.m_blocks, block.m_block);
  const int64_t tile_end = run_begin(plan.tiles, plan.m_blocks, block.m_block + 1);
  const int64_t groups = std::min(plan.k_block_groups, plan.groups - group);
  const bool whole = groups == plan.groups;
  const int64_t first_row =
      run_begin(desc.m, plan.tiles, tile_begin) - (panel - block.panel_begin) * plan.block_rows;
  const int64_t piece_bytes = groups * kernel.k_group * kS8PanelCols;
  // The next piece is that of the next panel, or of this one when it is the last.
  const int64_t next = panel + 1 < block.panel_end ? plan.panel_bytes : piece_bytes;
  for (int64_t t = tile_begin; t < tile_end; ++t) {
    const int64_t row = run_begin(desc.m, plan.tiles, t);
    const int64_t rows = run_begin(desc.m, plan.tiles, t + 1) - row;
    S8Tile tile{};
    const uint8_t* w = operands.w + panel * plan.panel_bytes + group * kernel.w_group_bytes;
    tile.a = operands.a + row * plan.a_row_bytes + group * rows * kernel.a_group_bytes;
    tile.w = w;
    tile.acc = operands.acc + (whole ? 0 : (row - first_row) * kS8PanelCols);
    tile.init = group == 0 ? operands.a_init + row : nullptr;
    // The first two tiles bring in the next piece of the weights; the others look again at what is
    // there.
    tile.prefetch = w + (t - tile_begin < 2 ? next + (t - tile_begin) * (piece_bytes / 2) : 0);
    tile.k_groups = groups;
    tile.panel_bytes = plan.panel_bytes;
    tile.rows = static_cast<int>(rows);
    kernel.tile(tile);
    if (group + groups == plan.groups)
      kernel.epilogue(epilogue, tile.acc, row, rows, panel * kS8PanelCols);
  }
}

Status run(const PanelKernel& kernel, const Context& context, const S8GemmDesc& desc,
           const S8GemmArgs& args) {
  INTAGLIO_TRY(check_s8_gemm(desc, args));
  if (context.scratch == nullptr)
    return make_error(ErrorCode::kInvalidArgument, "s8_gemm: the context has no scratch memory");
  const Plan plan = make_plan(kernel, desc, context.threads);
  const Arena::Scope scope(*context.scratch);
  INTAGLIO_ASSIGN(int8_t * a_packed, context.scratch->take<int8_t>(plan.a_row_bytes * desc.m));
  INTAGLIO_ASSIGN(int32_t * a_init, context.scratch->take<int32_t>(desc.m));
  INTAGLIO_ASSIGN(int32_t * acc,
                  context.scratch->take<int32_t>(acc_elements(plan, context.threads)));

  const int pack_threads = desc.m * desc.k <= kSerialPackBytes ? 1 : plan.threads;
  INTAGLIO_TRY(
      parallel_tasks(context, pack_threads, plan.tiles, 1, [&](int64_t begin, int64_t end, int) {
        for (int64_t t = begin; t < end; ++t) {
          const int64_t row = run_begin(desc.m, plan.tiles, t);
          const int64_t rows = run_begin(desc.m, plan.tiles, t + 1) - row;
          kernel.pack_rows(args.a + row * args.lda, args.lda, static_cast<int>(rows), desc.k,
                           a_packed + row * plan.a_row_bytes, a_init + row);
        }
      }));

  const S8Epilogue epilogue = make_s8_epilogue(desc, args);
  const int64_t tasks_per_block = (plan.panels + plan.panels_per_task - 1) / plan.panels_per_task;
  INTAGLIO_TRY(parallel_tasks(
      context, plan.threads, plan.m_blocks * tasks_per_block, 1,
      [&](int64_t begin, int64_t end, int thread) {
        const Operands operands{a_packed, a_init, static_cast<const uint8_t*>(args.w_packed),
                                acc + thread * plan.acc_rows * kS8PanelCols};
        for (int64_t task = begin; task < end; ++task) {
          const int64_t part = task % tasks_per_block;
          const Block block{task / tasks_per_block, run_begin(plan.panels, tasks_per_block, part),
                            run_begin(plan.panels, tasks_per_block, part + 1)};
          for (int64_t group = 0; group < plan.groups; group += plan.k_block_groups) {
            for (int64_t panel = block.panel_begin; panel < block.panel_end; ++panel) {
              run_piece(kernel, plan, desc, epilogue, operands, block, panel, group);
            }
          }
        }
      }));
  return {};
}

Refusal vnni_can_run(const S8GemmDesc& desc, const Context& context) {
  if (context.cpu.isa < CpuIsa::kAvx512Vnni) return "needs AVX512-VNNI";
  return refuse_s8_gemm_desc(desc);
}
size_t vnni_scratch(const S8GemmDesc& desc, const Context& context) {
  return scratch_bytes(kVnniKernel, desc, context.threads);
}
Status vnni_run(const Context& context, const S8GemmDesc& desc, const S8GemmArgs& args) {
  PanelKernel kernel = kVnniKernel;
  if (context.cpu.avx512_bf16) kernel.epilogue = avx512bf16_s8_epilogue;
  return run(kernel, context, desc, args);
}

Refusal avx2_can_run(const S8GemmDesc& desc, const Context& context) {
  if (context.cpu.isa < CpuIsa::kAvx2) return "needs AVX2";
  return refuse_s8_gemm_desc(desc);
}
size_t avx2_scratch(const S8GemmDesc& desc, const Context& context) {
  return scratch_bytes(kAvx2Kernel, desc, context.threads);
}
Status avx2_run(const Context& context, const S8GemmDesc& desc, const S8GemmArgs& args) {
  return run(kAvx2Kernel, context, desc, args);
}

using VnniPacking = S8Packing<S8VnniLayout>;
using Avx2Packing = S8Packing<S8Avx2Layout>;

}  // namespace

extern const S8GemmImplementation kAvx512VnniS8Gemm{"avx512vnni_s8_gemm",
                                                    vnni_can_run,
                                                    VnniPacking::packed_bytes,
                                                    VnniPacking::pack,
                                                    VnniPacking::unpack_rows,
                                                    vnni_scratch,
                                                    vnni_run};
extern const S8GemmImplementation kAvx2S8Gemm{"avx2_s8_gemm",
                                              avx2_can_run,
                                              Avx2Packing::packed_bytes,
                                              Avx2Packing::pack,
                                              Avx2Packing::unpack_rows,
                                              avx2_scratch,
                                              avx2_run};

}  // namespace intaglio

#endif  // INTAGLIO_X86
