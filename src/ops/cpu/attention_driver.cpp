#include "ops/cpu/attention_driver.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/parallel_tasks.h"
#include "ops/attention_implementations.h"

namespace intaglio {
namespace {

// Heads are packed in groups: large enough to keep all threads busy between two meetings, small
// enough that what was packed is still in cache when it is read and that the packed copies of a
// long sequence stay small.
constexpr int64_t kTasksPerThread = 32;
constexpr size_t kPackedBytesAtOnce = size_t{8} << 20;
constexpr int64_t kPackTokens = 256;  // a multiple of every panel

int64_t round_up(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

struct Plan {
  AttentionGeometry geometry;
  int64_t query_blocks = 0;
  int64_t group = 0;  // query heads that share one kv head
  int64_t kv_heads_at_once = 0;
  size_t k_bytes = 0, v_bytes = 0;  // one kv head
  size_t q_block_bytes = 0, scores_bytes = 0, sums_bytes = 0, state_bytes = 0;

  size_t thread_bytes() const { return q_block_bytes + scores_bytes + sums_bytes + state_bytes; }
  size_t total_bytes(int threads) const {
    return static_cast<size_t>(kv_heads_at_once) * (k_bytes + v_bytes) +
           static_cast<size_t>(threads) * thread_bytes();
  }
};

Plan make_plan(const AttentionKernel& kernel, const AttentionDesc& desc, int threads) {
  Plan plan;
  AttentionGeometry& g = plan.geometry;
  g.keys = desc.key_tokens();
  g.head_dim = desc.head_dim;
  g.keys_padded = round_up(g.keys, kernel.key_multiple);
  g.depth_padded = round_up(desc.head_dim, kernel.depth_multiple);
  g.cols_padded = round_up(desc.head_dim, kernel.col_multiple);
  g.scale_log2 =
      static_cast<float>(std::numbers::log2e / std::sqrt(static_cast<double>(desc.head_dim)));
  g.causal = desc.causal;
  g.bf16 = desc.dtype == DType::kBF16;

  const int64_t element = kernel.element_bytes;
  const auto bytes = [](int64_t rows, int64_t cols, int64_t size) {
    return align_up(static_cast<size_t>(rows * cols * size), kCacheLine);
  };
  plan.k_bytes = bytes(g.keys_padded, g.depth_padded, element);
  plan.v_bytes = bytes(g.keys_padded, g.cols_padded, element);

  plan.query_blocks = (desc.tokens + kernel.block_rows - 1) / kernel.block_rows;
  plan.group = desc.heads / desc.kv_heads;
  const int64_t tasks_per_kv_head = plan.query_blocks * plan.group;
  const int64_t busy = (kTasksPerThread * threads + tasks_per_kv_head - 1) / tasks_per_kv_head;
  const int64_t cached = static_cast<int64_t>(kPackedBytesAtOnce / (plan.k_bytes + plan.v_bytes));
  plan.kv_heads_at_once = std::min(desc.kv_heads, std::max(busy, cached));
  // Equal groups, so that the last one is not a small remainder.
  const int64_t groups = (desc.kv_heads + plan.kv_heads_at_once - 1) / plan.kv_heads_at_once;
  plan.kv_heads_at_once = (desc.kv_heads + groups - 1) / groups;

  plan.q_block_bytes = bytes(kernel.block_rows, g.depth_padded, element);
  plan.scores_bytes = bytes(kernel.block_rows, kernel.block_keys, 4);
  plan.sums_bytes = bytes(kernel.block_rows, g.cols_padded, 4);
  plan.state_bytes = bytes(3, kernel.block_rows, 4);
  return plan;
}

const std::byte* head_start(const void* base, int64_t head, const AttentionDesc& desc) {
  return static_cast<const std::byte*>(base) +
         static_cast<size_t>(head * desc.head_dim) * dtype_size(desc.dtype);
}

}  // namespace

size_t attention_kernel_scratch_bytes(const AttentionKernel& kernel, const AttentionDesc& desc,
                                      int threads) {
  if (desc.tokens == 0) return 0;
  const int team = usable_threads(threads);
  return make_plan(kernel, desc, team).total_bytes(team);
}

Status run_attention_kernel(const AttentionKernel& kernel, const Context& context,
                            const AttentionDesc& desc, const AttentionArgs& args) {
  const int threads = usable_threads(context.threads);
  const Plan plan = make_plan(kernel, desc, threads);
  const AttentionGeometry& g = plan.geometry;
  Arena::Scope scope(*context.scratch);
  INTAGLIO_ASSIGN(std::byte * scratch, context.scratch->take<std::byte>(
                                           static_cast<int64_t>(plan.total_bytes(threads))));
  const size_t head_bytes = plan.k_bytes + plan.v_bytes;
  std::byte* thread_scratch = scratch + static_cast<size_t>(plan.kv_heads_at_once) * head_bytes;
  const int64_t pack_chunks = (g.keys + kPackTokens - 1) / kPackTokens;

  for (int64_t first = 0; first < desc.kv_heads; first += plan.kv_heads_at_once) {
    const int64_t kv_heads = std::min(plan.kv_heads_at_once, desc.kv_heads - first);

    INTAGLIO_TRY(parallel_tasks(
        context, threads, kv_heads * 2 * pack_chunks, 1, [&](int64_t begin, int64_t end, int) {
          for (int64_t i = begin; i < end; ++i) {
            const int64_t chunk = i % pack_chunks;
            const int64_t head = i / pack_chunks / 2;
            const bool is_v = (i / pack_chunks) % 2 == 1;
            AttentionPackArgs pack;
            pack.source = head_start(is_v ? args.v : args.k, first + head, desc);
            pack.ld = is_v ? args.ldv : args.ldk;
            pack.begin = chunk * kPackTokens;
            pack.end = std::min(g.keys, pack.begin + kPackTokens);
            pack.packed =
                scratch + static_cast<size_t>(head) * head_bytes + (is_v ? plan.k_bytes : 0);
            (is_v ? kernel.pack_v : kernel.pack_k)(g, pack);
          }
        }));

    const int64_t tasks_per_kv_head = plan.query_blocks * plan.group;
    INTAGLIO_TRY(parallel_tasks(
        context, threads, kv_heads * tasks_per_kv_head, 1,
        [&](int64_t begin, int64_t end, int thread) {
          std::byte* own = thread_scratch + static_cast<size_t>(thread) * plan.thread_bytes();
          for (int64_t i = begin; i < end; ++i) {
            const int64_t kv_head = i / tasks_per_kv_head;
            const int64_t head =
                (first + kv_head) * plan.group + i % tasks_per_kv_head / plan.query_blocks;
            AttentionBlockArgs block;
            // Last rows first: under a causal mask they are the longest tasks, and short ones at
            // the end let the threads finish together.
            block.row = (plan.query_blocks - 1 - i % plan.query_blocks) * kernel.block_rows;
            block.rows = std::min(kernel.block_rows, desc.tokens - block.row);
            block.q = head_start(args.q, head, desc);
            block.ldq = args.ldq;
            block.k_packed = scratch + static_cast<size_t>(kv_head) * head_bytes;
            block.v_packed = scratch + static_cast<size_t>(kv_head) * head_bytes + plan.k_bytes;
            block.out = const_cast<std::byte*>(head_start(args.out, head, desc));
            block.ldo = output_stride(desc, args);
            block.q_block = own;
            block.scores = reinterpret_cast<float*>(own + plan.q_block_bytes);
            block.sums = reinterpret_cast<float*>(own + plan.q_block_bytes + plan.scores_bytes);
            block.row_state = reinterpret_cast<float*>(own + plan.q_block_bytes +
                                                       plan.scores_bytes + plan.sums_bytes);
            kernel.block(g, block);
          }
        }));
  }
  return {};
}

}  // namespace intaglio
