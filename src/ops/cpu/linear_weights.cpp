// Weights of linears on the CPU.
#include <algorithm>
#include <cstring>

#include "core/aligned_buffer.h"
#include "ops/cpu/linear.h"
#include "ops/linear_prepare.h"

namespace intaglio::cpu {
namespace {

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

}  // namespace

Status prepare_s8(const Context& context, std::span<const StoredLinear> parts,
                  LinearWeights& weights) {
  INTAGLIO_ASSIGN(const AlignedBuffer q, place_int8_rows(context, parts, weights));
  INTAGLIO_ASSIGN(weights.packed,
                  AlignedBuffer::allocate(weights.s8_gemm->packed_bytes(weights.n, weights.k)));
  weights.s8_gemm->pack(q.as<int8_t>(), weights.n, weights.k, weights.packed.data());
  return {};
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
