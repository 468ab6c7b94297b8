#include "ops/linear_prepare.h"

#include <algorithm>
#include <cstring>

#include "core/memory.h"
#include "core/parallel_tasks.h"
#include "ops/quantize.h"
#if defined(INTAGLIO_HAS_CUDA)
#include "ops/cuda/linear.h"
#endif

namespace intaglio {
namespace {

constexpr int64_t kRowHint = 4096;  // rows for which the implementation is chosen

const std::byte* row_data(const TensorView& part, int64_t row) {
  return static_cast<const std::byte*>(part.data) +
         static_cast<size_t>(row * part.shape[1]) * dtype_size(part.dtype);
}

bool is_aligned(const TensorView& part) {
  return reinterpret_cast<uintptr_t>(part.data) % dtype_size(part.dtype) == 0;
}

// Biases side by side, at the place of their part; empty if there is none.
std::vector<float> join_biases(const LinearWeights& weights, const std::vector<TensorView>& parts,
                               const std::vector<TensorView>& biases) {
  const bool interleaved = is_interleaved(weights);
  const bool any = std::any_of(biases.begin(), biases.end(),
                               [](const TensorView& b) { return b.data != nullptr; });
  if (!any) return {};
  std::vector<float> joined(static_cast<size_t>(weights.n), 0.0f);
  int64_t first = 0;
  for (size_t i = 0; i < parts.size(); ++i) {
    const int64_t n = parts[i].shape[0];
    if (biases[i].data != nullptr) {
      std::vector<float> values(static_cast<size_t>(n));
      convert_to_f32(biases[i].data, biases[i].dtype, values.data(), values.size());
      for (int64_t row = 0; row < n; ++row) {
        const int64_t at = interleaved ? interleaved_row(static_cast<int64_t>(i),
                                                         row / kSwigluGroup * kSwigluGroup) +
                                             row % kSwigluGroup
                                       : first + row;
        joined[static_cast<size_t>(at)] = values[static_cast<size_t>(row)];
      }
    }
    first += n;
  }
  return joined;
}

Status prepare_bias(const Context& context, const std::vector<TensorView>& parts,
                    const std::vector<TensorView>& biases, std::span<const float> added,
                    LinearWeights& weights) {
  std::vector<float> bias;
  if (!biases.empty()) bias = join_biases(weights, parts, biases);
  if (!added.empty()) {
    if (static_cast<int64_t>(added.size()) != weights.n) {
      return make_error(ErrorCode::kShapeMismatch,
                        "make_linear: {} values to add to the bias, expected {}", added.size(),
                        weights.n);
    }
    bias.resize(added.size(), 0.0f);
    for (size_t i = 0; i < bias.size(); ++i) bias[i] += added[i];
  }
  INTAGLIO_ASSIGN(weights.bias, upload(context, bias));
  return {};
}

}  // namespace

Status choose_products(const Context& context, LinearWeights& weights) {
  if (weights.kind == LinearKind::kS8) {
    const S8GemmDesc desc{
        .m = kRowHint, .n = weights.n, .k = weights.k, .epilogue = weights.epilogue};
    INTAGLIO_ASSIGN(weights.s8_gemm, choose_s8_gemm(desc, context));
    return {};
  }
  const DType dtype = weights.kind == LinearKind::kF32 ? DType::kF32 : DType::kBF16;
  INTAGLIO_ASSIGN(weights.float_gemm,
                  choose_float_gemm({.m = kRowHint,
                                     .n = weights.n,
                                     .k = weights.k,
                                     .in_dtype = dtype,
                                     .out_dtype = context.gpu != nullptr ? dtype : DType::kF32},
                                    context));
  return {};
}

Status convert_weight_rows(const Context& context, const TensorView& part, DType dtype,
                           std::byte* target) {
  const int64_t k = part.shape[1];
  const size_t row_bytes = static_cast<size_t>(k) * dtype_size(dtype);
  INTAGLIO_TRY(parallel_tasks(context, part.shape[0], 16, [&](int64_t begin, int64_t end, int) {
    std::vector<float> values(static_cast<size_t>(dtype == DType::kBF16 ? k : 0));
    for (int64_t row = begin; row < end; ++row) {
      std::byte* out = target + static_cast<size_t>(row) * row_bytes;
      if (part.dtype == dtype) {
        std::memcpy(out, row_data(part, row), row_bytes);
      } else if (dtype == DType::kF32) {
        convert_to_f32(row_data(part, row), part.dtype, reinterpret_cast<float*>(out),
                       static_cast<size_t>(k));
      } else {
        convert_to_f32(row_data(part, row), part.dtype, values.data(), values.size());
        for (int64_t c = 0; c < k; ++c)
          reinterpret_cast<BFloat16*>(out)[c] = BFloat16(values[static_cast<size_t>(c)]);
      }
    }
  }));
  return {};
}

namespace {

Status prepare_float(const Context& context, DType dtype, const std::vector<TensorView>& parts,
                     LinearWeights& weights) {
  INTAGLIO_TRY(choose_products(context, weights));
  const FloatGemmDesc desc{.m = kRowHint, .n = weights.n, .k = weights.k, .in_dtype = dtype};
  const size_t packed_bytes = weights.float_gemm->packed_bytes(desc);
  const TensorView& first = parts.front();
  const bool as_it_lies = parts.size() == 1 && first.dtype == dtype && is_aligned(first);
  if (as_it_lies && packed_bytes == 0) {
    weights.borrowed = first.data;
    return {};
  }
  AlignedBuffer joined;
  const void* source = first.data;
  if (!as_it_lies) {
    INTAGLIO_ASSIGN(joined, AlignedBuffer::allocate(static_cast<size_t>(weights.n * weights.k) *
                                                    dtype_size(dtype)));
    auto* target = joined.as<std::byte>();
    for (const TensorView& part : parts) {
      INTAGLIO_TRY(convert_weight_rows(context, part, dtype, target));
      target += static_cast<size_t>(part.shape.count()) * dtype_size(dtype);
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

Status prepare_s8(const Context& context, LinearKind kind, const std::vector<TensorView>& parts,
                  LinearWeights& weights) {
  const int64_t k = weights.k;
  INTAGLIO_ASSIGN(AlignedBuffer q, AlignedBuffer::allocate(static_cast<size_t>(weights.n * k)));
  INTAGLIO_ASSIGN(weights.scale_col,
                  AlignedBuffer::allocate(static_cast<size_t>(weights.n) * sizeof(float)));
  auto* const scale = weights.scale_col.as<float>();
  std::fill_n(scale, weights.n, kMinQuantScale);
  const bool interleaved = is_interleaved(weights);
  if (interleaved) std::memset(q.data(), 0, q.size());  // the padding rows
  int64_t first = 0;
  for (size_t i = 0; i < parts.size(); ++i) {
    const int64_t n = parts[i].shape[0];
    const int64_t step = interleaved ? kSwigluGroup : n;
    for (int64_t row = 0; row < n; row += step) {
      const int64_t at = interleaved ? interleaved_row(static_cast<int64_t>(i), row) : first + row;
      const TensorView rows{row_data(parts[i], row), parts[i].dtype, {std::min(step, n - row), k}};
      INTAGLIO_TRY(quantize_weight_rows(context, rows, q.as<int8_t>() + at * k, scale + at));
    }
    first += n;
  }
  if (kind == LinearKind::kS8Dequant) {
    INTAGLIO_TRY(choose_products(context, weights));
    weights.packed = std::move(q);
    return {};
  }
  INTAGLIO_TRY(choose_products(context, weights));
  INTAGLIO_ASSIGN(weights.packed,
                  AlignedBuffer::allocate(weights.s8_gemm->packed_bytes(weights.n, k)));
  weights.s8_gemm->pack(q.as<int8_t>(), weights.n, k, weights.packed.data());
  return {};
}

}  // namespace

Expected<LinearShape> check_linear(GemmEpilogue epilogue, const std::vector<TensorView>& parts,
                                   const std::vector<TensorView>& biases) {
  if (parts.empty()) return make_error(ErrorCode::kInvalidArgument, "make_linear: no weights");
  if (!biases.empty() && biases.size() != parts.size()) {
    return make_error(ErrorCode::kInvalidArgument, "make_linear: {} biases for {} weights",
                      biases.size(), parts.size());
  }
  LinearShape shape;
  for (size_t i = 0; i < parts.size(); ++i) {
    const TensorView& part = parts[i];
    const bool is_usable =
        part.dtype == DType::kF32 || part.dtype == DType::kF16 || part.dtype == DType::kBF16;
    if (part.data == nullptr || !is_usable || part.shape.rank != 2 || part.shape[0] < 1 ||
        part.shape[1] < 1) {
      return make_error(ErrorCode::kShapeMismatch,
                        "make_linear: weight {} is {} {}{}, expected F32, F16 or BF16 [n, k]", i,
                        dtype_name(part.dtype), to_string(part.shape),
                        part.data == nullptr ? " without data" : "");
    }
    if (i > 0 && part.shape[1] != shape.k) {
      return make_error(ErrorCode::kShapeMismatch,
                        "make_linear: weight {} is {}, expected {} columns as weight 0", i,
                        to_string(part.shape), shape.k);
    }
    shape.k = part.shape[1];
    shape.n += part.shape[0];
    if (!biases.empty() && biases[i].data != nullptr &&
        (!is_float(biases[i].dtype) || biases[i].shape != Shape{part.shape[0]})) {
      return make_error(ErrorCode::kShapeMismatch,
                        "make_linear: bias {} is {} {}, expected a float [{}]", i,
                        dtype_name(biases[i].dtype), to_string(biases[i].shape), part.shape[0]);
    }
  }
  if (is_gated(epilogue)) {
    if (parts.size() != 2 || parts[0].shape[0] != parts[1].shape[0]) {
      return make_error(
          ErrorCode::kShapeMismatch,
          "make_linear: SwiGLU takes a gate and an up weight of the same size, got {}",
          parts.size() == 2 ? to_string(parts[0].shape) + " and " + to_string(parts[1].shape)
                            : fmt::format("{} weights", parts.size()));
    }
    shape.part_n = parts[0].shape[0];
  }
  return shape;
}

Expected<LinearWeights> make_linear(const Context& context, LinearKind kind, GemmEpilogue epilogue,
                                    const std::vector<TensorView>& parts,
                                    const std::vector<TensorView>& biases,
                                    std::span<const float> added_bias) {
  INTAGLIO_TRY(check_cancelled(context));  // loading stops between tensors
  INTAGLIO_ASSIGN(const LinearShape shape, check_linear(epilogue, parts, biases));
  if (const Refusal refusal = linear_kind_refusal(kind, context))
    return make_error(ErrorCode::kUnsupported, "make_linear: {}", refusal);
  LinearWeights weights;
  weights.kind = kind_at_size(device_kind(context), kind, shape.n, shape.k);
  if (weights.kind != kind) {
    log(LogLevel::kWarning,
        "a linear of {} x {} weights runs in {}: {} has no product of that size", shape.n, shape.k,
        linear_kind_name(weights.kind), linear_kind_name(kind));
  }
  weights.epilogue = epilogue;
  weights.k = shape.k;
  weights.n = shape.n;
  if (is_interleaved(weights))
    weights.n = 2 * static_cast<int64_t>(align_up(static_cast<size_t>(shape.part_n), kSwigluGroup));
  INTAGLIO_TRY(prepare_bias(context, parts, biases, added_bias, weights));
#if defined(INTAGLIO_HAS_CUDA)
  if (context.gpu != nullptr) {
    INTAGLIO_TRY(cuda::op::prepare_linear(context, parts, weights));
    return weights;
  }
#endif
  switch (kind) {
    case LinearKind::kF32:
      weights.input = DType::kF32;
      INTAGLIO_TRY(prepare_float(context, DType::kF32, parts, weights));
      break;
    case LinearKind::kBF16:
      weights.input = DType::kBF16;
      INTAGLIO_TRY(prepare_float(context, DType::kBF16, parts, weights));
      break;
    case LinearKind::kS8:
    case LinearKind::kS8Dequant:
      weights.input = DType::kI8;
      INTAGLIO_TRY(prepare_s8(context, kind, parts, weights));
      break;
    case LinearKind::kF8:
    case LinearKind::kNf4:
      break;  // refused above: they have no form on a CPU
  }
  return weights;
}

}  // namespace intaglio
