#include "ops/linear_prepare.h"

#include <algorithm>
#include <cstring>

#include "core/first_error.h"
#include "core/memory.h"
#include "core/parallel_tasks.h"
#include "ops/quantize.h"

namespace intaglio {
namespace {

const std::byte* row_data(const TensorView& part, int64_t row) {
  return static_cast<const std::byte*>(part.data) +
         static_cast<size_t>(row * part.shape[1]) * dtype_size(part.dtype);
}

// Biases side by side, at the place of their part; empty if there is none.
std::vector<float> join_biases(const LinearWeights& weights, const LinearSource& source) {
  const bool interleaved = is_interleaved(weights);
  const bool any = std::any_of(source.biases.begin(), source.biases.end(),
                               [](const TensorView& b) { return b.data != nullptr; });
  if (!any) return {};
  std::vector<float> joined(static_cast<size_t>(weights.n), 0.0f);
  int64_t first = 0;
  for (size_t i = 0; i < source.parts.size(); ++i) {
    const int64_t n = source.parts[i].n();
    const TensorView& bias = source.biases[i];
    if (bias.data != nullptr) {
      std::vector<float> values(static_cast<size_t>(n));
      convert_to_f32(bias.data, bias.dtype, values.data(), values.size());
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

bool is_float_part(const StoredLinear& part) {
  const DType dtype = part.values.dtype;
  return part.encoding == Encoding::kFloat &&
         (dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBF16);
}

bool has_scale_a_row(const StoredLinear& part) {
  return part.scales.data != nullptr && part.scales.dtype == DType::kF32 &&
         part.scales.shape == Shape{part.values.shape[0]};
}

bool is_int8_part(const StoredLinear& part) {
  return part.encoding == Encoding::kInt8Rows && part.values.dtype == DType::kI8 &&
         has_scale_a_row(part);
}

bool is_e4m3_part(const StoredLinear& part) {
  return part.encoding == Encoding::kFloat && part.values.dtype == DType::kF8E4M3 &&
         has_scale_a_row(part);
}

Status check_part(const StoredLinear& part, size_t i) {
  const TensorView& w = part.values;
  const bool is_matrix = (w.data != nullptr || part.reader != nullptr) && w.shape.rank == 2 &&
                         w.shape[0] >= 1 && w.shape[1] >= 1;
  if (!is_matrix || (!is_float_part(part) && !is_int8_part(part) && !is_e4m3_part(part))) {
    return make_error(ErrorCode::kShapeMismatch,
                      "make_linear: weight {} is {} {}{}, expected F32, F16 or BF16 [n, k], or I8 "
                      "or F8_E4M3 [n, k] with F32 scales [n]",
                      i, dtype_name(w.dtype), to_string(w.shape),
                      w.data == nullptr ? " without data" : "");
  }
  if (const char* reason = rotation_refusal(w.shape[1], part.rotation)) {
    return make_error(ErrorCode::kShapeMismatch, "make_linear: weight {} of {} columns: {}", i,
                      w.shape[1], reason);
  }
  if (part.smooth.data != nullptr &&
      (part.smooth.dtype != DType::kF32 || part.smooth.shape != Shape{w.shape[1]})) {
    return make_error(ErrorCode::kShapeMismatch,
                      "make_linear: smoothing of weight {} is {} {}, expected F32 [{}]", i,
                      dtype_name(part.smooth.dtype), to_string(part.smooth.shape), w.shape[1]);
  }
  return {};
}

}  // namespace

Expected<AlignedBuffer> prepare_bias(const Context& context, const LinearSource& source,
                                     const LinearWeights& weights) {
  std::vector<float> bias;
  if (!source.biases.empty()) bias = join_biases(weights, source);
  const std::span<const float> added = source.added_bias;
  if (!added.empty()) {
    if (static_cast<int64_t>(added.size()) != weights.n) {
      return make_error(ErrorCode::kShapeMismatch,
                        "make_linear: {} values to add to the bias, expected {}", added.size(),
                        weights.n);
    }
    bias.resize(added.size(), 0.0f);
    for (size_t i = 0; i < bias.size(); ++i) bias[i] += added[i];
  }
  return upload(context, bias);
}

Status choose_products(const Context& context, const LinearDesc& desc, LinearWeights& weights) {
  if (weights.kind == LinearKind::kS8) {
    const S8GemmDesc product{
        .m = kLinearRowHint, .n = weights.n, .k = weights.k, .epilogue = weights.epilogue};
    INTAGLIO_ASSIGN(weights.s8_gemm, choose_s8_gemm(product, context));
    return {};
  }
  const bool gpu = context.gpu != nullptr;
  const DType dtype = weights.kind == LinearKind::kF32 ? DType::kF32 : DType::kBF16;
  INTAGLIO_ASSIGN(weights.float_gemm, choose_float_gemm({.m = kLinearRowHint,
                                                         .n = weights.n,
                                                         .k = weights.k,
                                                         .in_dtype = dtype,
                                                         .out_dtype = gpu ? dtype : DType::kF32,
                                                         .has_bias = gpu && desc.has_bias},
                                                        context));
  return {};
}

Status convert_weight_rows(const Context& context, const StoredLinear& part, DType dtype,
                           std::byte* target) {
  const int64_t k = part.k();
  const size_t row_bytes = static_cast<size_t>(k) * dtype_size(dtype);
  const auto convert = [&](int64_t begin, int64_t end) -> Status {
    AlignedBuffer memory;
    INTAGLIO_ASSIGN(const StoredLinear rows, part.read(begin, end - begin, memory));
    std::vector<float> values(static_cast<size_t>(dtype == DType::kBF16 ? k : 0));
    std::byte* out = target + static_cast<size_t>(begin) * row_bytes;
    for (int64_t row = 0; row < rows.n(); ++row, out += row_bytes) {
      if (rows.encoding == Encoding::kFloat && rows.values.dtype == dtype) {
        std::memcpy(out, row_data(rows.values, row), row_bytes);
      } else if (dtype == DType::kF32) {
        dequantize_row(rows, row, reinterpret_cast<float*>(out));
      } else {
        dequantize_row(rows, row, values.data());
        for (int64_t c = 0; c < k; ++c)
          reinterpret_cast<BFloat16*>(out)[c] = BFloat16(values[static_cast<size_t>(c)]);
      }
    }
    return {};
  };
  FirstError failed;
  INTAGLIO_TRY(parallel_tasks(context, part.n(), 16, [&](int64_t begin, int64_t end, int) {
    failed.keep(begin, convert(begin, end));
  }));
  return failed.status();
}

Expected<TensorView> as_float_tensor(const Context& context, const StoredLinear& part,
                                     AlignedBuffer& memory) {
  if (is_float_part(part)) return part.values;
  INTAGLIO_ASSIGN(memory, AlignedBuffer::allocate(static_cast<size_t>(part.values.shape.count()) *
                                                  sizeof(float)));
  INTAGLIO_TRY(convert_weight_rows(context, part, DType::kF32, memory.as<std::byte>()));
  return TensorView{memory.data(), DType::kF32, part.values.shape};
}

Status int8_rows(const Context& context, const LinearWeights& weights, const StoredLinear& rows,
                 int8_t* q, float* scale) {
  if (!weights.as_stored) return quantize_weight_rows(context, rows, q, scale);
  std::memcpy(q, rows.values.data, rows.values.size_bytes());
  std::memcpy(scale, rows.scales.data, rows.scales.size_bytes());
  return {};
}

Expected<LinearShape> check_linear(GemmEpilogue epilogue, const LinearSource& source) {
  const std::vector<StoredLinear>& parts = source.parts;
  if (parts.empty()) return make_error(ErrorCode::kInvalidArgument, "make_linear: no weights");
  if (!source.biases.empty() && source.biases.size() != parts.size()) {
    return make_error(ErrorCode::kInvalidArgument, "make_linear: {} biases for {} weights",
                      source.biases.size(), parts.size());
  }
  LinearShape shape;
  for (size_t i = 0; i < parts.size(); ++i) {
    INTAGLIO_TRY(check_part(parts[i], i));
    const Shape& part = parts[i].values.shape;
    if (i > 0 && part[1] != shape.k) {
      return make_error(ErrorCode::kShapeMismatch,
                        "make_linear: weight {} is {}, expected {} columns as weight 0", i,
                        to_string(part), shape.k);
    }
    shape.k = part[1];
    shape.n += part[0];
    if (source.biases.empty()) continue;
    const TensorView& bias = source.biases[i];
    if (bias.data != nullptr && (!is_float(bias.dtype) || bias.shape != Shape{part[0]})) {
      return make_error(ErrorCode::kShapeMismatch,
                        "make_linear: bias {} is {} {}, expected a float [{}]", i,
                        dtype_name(bias.dtype), to_string(bias.shape), part[0]);
    }
  }
  if (!is_gated(epilogue)) return shape;
  if (parts.size() != 2 || parts[0].n() != parts[1].n()) {
    return make_error(ErrorCode::kShapeMismatch,
                      "make_linear: SwiGLU takes a gate and an up weight of the same size, got {}",
                      parts.size() == 2 ? to_string(parts[0].values.shape) + " and " +
                                              to_string(parts[1].values.shape)
                                        : fmt::format("{} weights", parts.size()));
  }
  shape.part_n = parts[0].n();
  return shape;
}

}  // namespace intaglio
