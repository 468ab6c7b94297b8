// Weights of linears on the CPU.
#include <algorithm>
#include <cstring>
#include <mutex>
#include <vector>

#include "core/aligned_buffer.h"
#include "core/parallel_tasks.h"
#include "ops/cpu/linear.h"
#include "ops/linear_prepare.h"

namespace intaglio::cpu {
namespace {

// Of all packed layouts (ops/cpu/s8_pack.h), and the rows of one piece of work.
constexpr int64_t kPanelRows = 32;
static_assert(kPanelRows % (2 * kSwigluGroup) == 0);

bool is_aligned(const TensorView& part) {
  return reinterpret_cast<uintptr_t>(part.data) % dtype_size(part.dtype) == 0;
}

// int8 rows [n, k] of all parts at the places where the kind has them, and `weights.scales`.
Expected<AlignedBuffer> place_int8_rows(const Context& context, std::span<const StoredLinear> parts,
                                        LinearWeights& weights) {
  const int64_t k = weights.k;
  INTAGLIO_ASSIGN(AlignedBuffer q, AlignedBuffer::allocate(static_cast<size_t>(weights.n * k)));
  INTAGLIO_ASSIGN(weights.scales,
                  AlignedBuffer::allocate(static_cast<size_t>(weights.n) * sizeof(float)));
  auto* const scale = weights.scales.as<float>();
  std::fill_n(scale, weights.n, kMinQuantScale);
  const bool interleaved = is_interleaved(weights);
  if (interleaved) std::memset(q.data(), 0, q.size());  // the padding rows
  int64_t first = 0;
  for (size_t i = 0; i < parts.size(); ++i) {
    const int64_t n = parts[i].n();
    const int64_t step = interleaved ? kSwigluGroup : n;
    for (int64_t row = 0; row < n; row += step) {
      const int64_t at = interleaved ? interleaved_row(static_cast<int64_t>(i), row) : first + row;
      const StoredLinear rows = parts[i].rows(row, std::min(step, n - row));
      INTAGLIO_TRY(int8_rows(context, weights, rows, q.as<int8_t>() + at * k, scale + at));
    }
    first += n;
  }
  return q;
}

// Rows [first, first + count) of the weights, as the kernels have them, that stand together in one
// part too: the stored rows, or nothing where they are padding.
struct RowRun {
  int64_t count = 0;
  const StoredLinear* part = nullptr;
  int64_t at = 0;  // row of the part
};

RowRun run_at(std::span<const StoredLinear> parts, bool interleaved, int64_t row, int64_t end) {
  if (interleaved) {
    const StoredLinear& part = parts[static_cast<size_t>(row / kSwigluGroup % 2)];
    const int64_t at = row / (2 * kSwigluGroup) * kSwigluGroup + row % kSwigluGroup;
    const int64_t most = std::min(end - row, kSwigluGroup - row % kSwigluGroup);
    if (at >= part.n()) return {.count = most};
    return {std::min(most, part.n() - at), &part, at};
  }
  for (const StoredLinear& part : parts) {
    if (row < part.n()) return {std::min(end, part.n()) - row, &part, row};
    row -= part.n();
    end -= part.n();
  }
  return {.count = end - row};
}

// Rows [first, end) of the weights as int8 rows and scales.
Status gather_int8_rows(const Context& context, const LinearWeights& weights,
                        std::span<const StoredLinear> parts, int64_t first, int64_t end, int8_t* q,
                        float* scale) {
  while (first < end) {
    const RowRun run = run_at(parts, is_interleaved(weights), first, end);
    if (run.part == nullptr) {
      std::memset(q, 0, static_cast<size_t>(run.count * weights.k));
      std::fill_n(scale, run.count, kMinQuantScale);
    } else {
      INTAGLIO_TRY(int8_rows(context, weights, run.part->rows(run.at, run.count), q, scale));
    }
    q += run.count * weights.k;
    scale += run.count;
    first += run.count;
  }
  return {};
}

}  // namespace

// Panel by panel, every thread with rows of its own: between the stored numbers and the packed ones
// nothing lies but what a cache holds. All layouts are panels one behind the other, so that a run
// of whole ones packs as they do alone.
Status prepare_s8(const Context& context, std::span<const StoredLinear> parts,
                  LinearWeights& weights) {
  const int64_t n = weights.n, k = weights.k;
  const S8GemmImplementation& product = *weights.s8_gemm;
  INTAGLIO_ASSIGN(weights.packed, AlignedBuffer::allocate(product.packed_bytes(n, k)));
  INTAGLIO_ASSIGN(weights.scales, AlignedBuffer::allocate(static_cast<size_t>(n) * sizeof(float)));
  Context serial = context;
  serial.threads = 1;
  std::mutex mutex;
  Status failed;
  INTAGLIO_TRY(parallel_tasks(context, n, kPanelRows, [&](int64_t first, int64_t end, int) {
    std::vector<int8_t> q(static_cast<size_t>((end - first) * k));
    const Status status = gather_int8_rows(serial, weights, parts, first, end, q.data(),
                                           weights.scales.as<float>() + first);
    if (!status) {
      const std::lock_guard<std::mutex> lock(mutex);
      failed = status;
      return;
    }
    product.pack(q.data(), end - first, k,
                 weights.packed.as<std::byte>() + product.packed_bytes(first, k));
  }));
  return failed;
}

Status prepare_dequant_s8(const Context& context, std::span<const StoredLinear> parts,
                          LinearWeights& weights) {
  INTAGLIO_ASSIGN(weights.packed, place_int8_rows(context, parts, weights));
  return {};
}

Status prepare_float(const Context& context, std::span<const StoredLinear> parts,
                     LinearWeights& weights) {
  const DType dtype = weights.input;
  const FloatGemmDesc desc{.m = kLinearRowHint, .n = weights.n, .k = weights.k, .in_dtype = dtype};
  const size_t packed_bytes = weights.float_gemm->packed_bytes(desc);
  const StoredLinear& first = parts.front();
  const bool as_it_lies = parts.size() == 1 && first.encoding == Encoding::kFloat &&
                          first.values.dtype == dtype && is_aligned(first.values);
  if (as_it_lies && packed_bytes == 0) {
    weights.borrowed = first.values.data;
    return {};
  }
  AlignedBuffer joined;
  const void* source = first.values.data;
  if (!as_it_lies) {
    INTAGLIO_ASSIGN(joined, AlignedBuffer::allocate(static_cast<size_t>(weights.n * weights.k) *
                                                    dtype_size(dtype)));
    auto* target = joined.as<std::byte>();
    for (const StoredLinear& part : parts) {
      INTAGLIO_TRY(convert_weight_rows(context, part, dtype, target));
      target += static_cast<size_t>(part.values.shape.count()) * dtype_size(dtype);
    }
    source = joined.data();
  }
  if (packed_bytes == 0) {
    weights.packed = std::move(joined);
    return {};
  }
  INTAGLIO_ASSIGN(weights.packed, AlignedBuffer::allocate(packed_bytes));
  return weights.float_gemm->pack(desc, source, weights.packed.data());
}

}  // namespace intaglio::cpu
