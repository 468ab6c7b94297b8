#include "ops/side_branch.h"

#include <algorithm>
#include <numeric>

#include "core/memory.h"
#include "ops/elementwise.h"
#include "ops/linear_prepare.h"

namespace intaglio {
namespace {

// The product and the branch's share of it are formed so many bytes at a time.
constexpr int64_t kSideBytes = int64_t{64} << 20;

// The product of the linear adds the branch.
bool is_fused(const LinearWeights& weights, DType dtype) {
  return weights.implementation != nullptr && weights.implementation->adds_side &&
         dtype == DType::kBF16;
}

int64_t rows_at_a_time(const LinearWeights& weights, int64_t m) {
  const int64_t row_bytes = 2 * weights.n * static_cast<int64_t>(sizeof(float));
  return std::min(m, std::max<int64_t>(16, kSideBytes / row_bytes));
}

FloatGemmDesc down_desc(const LinearWeights& weights, int64_t m) {
  return {.m = m,
          .n = weights.side->rank,
          .k = weights.k,
          .in_dtype = weights.side->dtype,
          .out_dtype = weights.side->dtype};
}

FloatGemmDesc up_desc(const LinearWeights& weights, int64_t m) {
  return {.m = m,
          .n = weights.n,
          .k = weights.side->rank,
          .in_dtype = weights.side->dtype,
          .out_dtype = DType::kF32,
          .has_bias = weights.side->has_bias};
}

const void* advance(const void* x, DType dtype, int64_t elements) {
  return static_cast<const std::byte*>(x) + elements * static_cast<int64_t>(dtype_size(dtype));
}

// Rows [first, first + rows) of an activation.
Activation rows_of(Activation x, int64_t first, int64_t rows) {
  x.data = const_cast<void*>(advance(x.data, x.dtype, first * x.cols));
  x.rows = rows;
  if (x.scale_row != nullptr) x.scale_row += first;
  return x;
}

// What the branch multiplies: the rows of floats that x was made of, or x itself.
struct FloatRows {
  const void* data;
  DType dtype;
};
FloatRows float_rows(const Activation& x) {
  if (has_row_scales(x.dtype)) return {x.floats, x.floats_dtype};
  return {x.data, x.dtype};
}

// sum [rows, n] F32, whose epilogue is due, -> rows of the call's output. `other`: [rows, n] F32,
// free.
Status write_out(const Context& context, const LinearWeights& weights, const LinearCall& call,
                 float* sum, float* other, int64_t rows) {
  if (is_gated(call.epilogue) && is_interleaved(weights)) {
    // Each group is a row of 16 gates and their 16 ups, each row of groups a row of the output.
    return epilogue_rows(context, {.epilogue = call.epilogue,
                                   .product = sum,
                                   .out = call.out,
                                   .out_dtype = call.out_dtype,
                                   .rows = rows * weights.n / (2 * kSwigluGroup),
                                   .cols = kSwigluGroup,
                                   .ldo = kSwigluGroup});
  }
  const int64_t cols = epilogue_columns(call.epilogue, weights.n);
  if (needs_pass(call.epilogue)) {
    return epilogue_rows(context, {.epilogue = call.epilogue,
                                   .product = sum,
                                   .out = call.out,
                                   .out_dtype = call.out_dtype,
                                   .rows = rows,
                                   .cols = cols,
                                   .ldo = call.ldo});
  }
  const void* source = sum;
  if (call.out_dtype == DType::kBF16) {
    INTAGLIO_TRY(convert_elements(context, {sum, DType::kF32, other, DType::kBF16, rows * cols}));
    source = other;
  }
  const size_t row_bytes = static_cast<size_t>(cols) * dtype_size(call.out_dtype);
  return copy_inside(context, call.out, source,
                     {row_bytes, static_cast<size_t>(rows),
                      static_cast<size_t>(call.ldo) * dtype_size(call.out_dtype), row_bytes});
}

Status check_call(const LinearWeights& weights, const LinearCall& call) {
  const FloatRows x = float_rows(call.x);
  if (x.data == nullptr || x.dtype != weights.side->dtype) {
    return make_error(ErrorCode::kInvalidArgument,
                      "linear: a side branch of {} reads {} rows, which the input lacks",
                      dtype_name(weights.side->dtype), dtype_name(weights.side->dtype));
  }
  if (!is_fused(weights, weights.side->dtype) && is_interleaved(weights) &&
      call.ldo != weights.out_cols()) {
    return make_error(ErrorCode::kUnsupported,
                      "linear: output rows of {} elements; with a side branch expected {}",
                      call.ldo, weights.out_cols());
  }
  return {};
}

Status check_parts(const LinearWeights& weights, int64_t outputs, std::span<const SidePart> parts) {
  for (size_t i = 0; i < parts.size(); ++i) {
    const SidePart& part = parts[i];
    const Shape &down = part.down.shape, &up = part.up.shape;
    const bool fits = part.down.data != nullptr && part.up.data != nullptr &&
                      is_float(part.down.dtype) && is_float(part.up.dtype) && down.rank == 2 &&
                      up.rank == 2 && down[0] >= 1 && down[1] <= weights.k && up[1] == down[0] &&
                      part.first >= 0 && part.first <= outputs && up[0] <= outputs - part.first &&
                      (part.bias.data == nullptr ||
                       (is_float(part.bias.dtype) && part.bias.shape == Shape{up[0]}));
    if (fits) continue;
    return make_error(ErrorCode::kShapeMismatch,
                      "side branch {}: {} {} and {} {}, expected floats [r, {}] and [{}, r]", i,
                      dtype_name(part.down.dtype), to_string(down), dtype_name(part.up.dtype),
                      to_string(up), weights.k, outputs - part.first);
  }
  return {};
}

// Where the kernels have each output of the linears.
std::vector<int64_t> places_of(const LinearWeights& weights, std::span<const int64_t> rows) {
  std::vector<int64_t> places;
  int64_t first = 0;
  for (size_t i = 0; i < rows.size(); ++i) {
    for (int64_t row = 0; row < rows[i]; ++row)
      places.push_back(
          is_interleaved(weights)
              ? interleaved_row(static_cast<int64_t>(i), row / kSwigluGroup * kSwigluGroup) +
                    row % kSwigluGroup
              : first + row);
    first += rows[i];
  }
  return places;
}

std::vector<float> floats_of(const TensorView& view) {
  std::vector<float> values(static_cast<size_t>(view.shape.count()));
  convert_to_f32(view.data, view.dtype, values.data(), values.size());
  return values;
}

// Rows of B by the scales of the weights' rows, which the product multiplies its sums with.
Status divide_by_scales(const Context& context, const LinearWeights& weights, int64_t rank,
                        std::vector<float>& up) {
  std::vector<float> scales(static_cast<size_t>(weights.n));
  INTAGLIO_TRY(copy_out(context, scales.data(), weights.scales.data(), weights.scales.size()));
  for (size_t i = 0; i < up.size(); ++i) up[i] /= scales[i / static_cast<size_t>(rank)];
  return {};
}

// The values as `dtype` in memory of the device.
Expected<AlignedBuffer> upload_as(const Context& context, const std::vector<float>& values,
                                  DType dtype) {
  if (dtype == DType::kF32) return upload(context, values);
  std::vector<BFloat16> narrow(values.size());
  std::transform(values.begin(), values.end(), narrow.begin(),
                 [](float value) { return BFloat16(value); });
  INTAGLIO_ASSIGN(AlignedBuffer buffer, allocate(context, narrow.size() * sizeof(BFloat16)));
  INTAGLIO_TRY(copy_in(context, buffer.data(), narrow.data(), buffer.size()));
  return buffer;
}

}  // namespace

Expected<std::shared_ptr<SideBranch>> plan_side_branch(const Context& context,
                                                       const LinearWeights& weights, int64_t ranks,
                                                       bool has_bias, DType dtype) {
  auto side = std::make_shared<SideBranch>();
  side->rank = side_branch_rank(ranks);
  side->dtype = dtype;
  side->has_bias = has_bias;
  INTAGLIO_ASSIGN(side->down_product, choose_float_gemm({.m = kLinearRowHint,
                                                         .n = side->rank,
                                                         .k = weights.k,
                                                         .in_dtype = dtype,
                                                         .out_dtype = dtype},
                                                        context));
  INTAGLIO_ASSIGN(side->up_product, choose_float_gemm({.m = kLinearRowHint,
                                                       .n = weights.n,
                                                       .k = side->rank,
                                                       .in_dtype = dtype,
                                                       .out_dtype = DType::kF32,
                                                       .has_bias = has_bias},
                                                      context));
  return side;
}

Expected<std::shared_ptr<const SideBranch>> make_side_branch(const Context& context,
                                                             const LinearWeights& weights,
                                                             std::span<const int64_t> rows,
                                                             std::span<const SidePart> parts,
                                                             DType dtype) {
  const std::vector<int64_t> places = places_of(weights, rows);
  INTAGLIO_TRY(check_parts(weights, static_cast<int64_t>(places.size()), parts));
  int64_t ranks = 0;
  bool has_bias = false;
  for (const SidePart& part : parts) {
    ranks += part.down.shape[0];
    has_bias = has_bias || part.bias.data != nullptr;
  }
  if (ranks == 0) return std::shared_ptr<const SideBranch>();
  INTAGLIO_ASSIGN(const std::shared_ptr<SideBranch> side,
                  plan_side_branch(context, weights, ranks, has_bias, dtype));
  const int64_t rank = side->rank;
  std::vector<float> down(static_cast<size_t>(rank * weights.k)),
      up(static_cast<size_t>(weights.n * rank)),
      bias(has_bias ? static_cast<size_t>(weights.n) : 0);
  int64_t first_rank = 0;
  for (const SidePart& part : parts) {
    const int64_t r = part.down.shape[0], k = part.down.shape[1];
    const std::vector<float> a = floats_of(part.down), b = floats_of(part.up);
    const std::vector<float> added =
        part.bias.data != nullptr ? floats_of(part.bias) : std::vector<float>();
    for (int64_t j = 0; j < r; ++j)
      std::copy_n(a.data() + j * k, k, down.data() + (first_rank + j) * weights.k);
    for (int64_t row = 0; row < part.up.shape[0]; ++row) {
      const int64_t at = places[static_cast<size_t>(part.first + row)];
      for (int64_t j = 0; j < r; ++j)
        up[static_cast<size_t>(at * rank + first_rank + j)] =
            part.scale * b[static_cast<size_t>(row * r + j)];
      if (!added.empty())
        bias[static_cast<size_t>(at)] += part.scale * added[static_cast<size_t>(row)];
    }
    first_rank += r;
  }
  if (is_fused(weights, dtype)) INTAGLIO_TRY(divide_by_scales(context, weights, rank, up));
  INTAGLIO_ASSIGN(side->down, upload_as(context, down, dtype));
  INTAGLIO_ASSIGN(side->up, upload_as(context, up, dtype));
  if (has_bias && is_fused(weights, dtype) && weights.bias.size() > 0) {
    std::vector<float> own(bias.size());
    INTAGLIO_TRY(copy_out(context, own.data(), weights.bias.data(), weights.bias.size()));
    for (size_t i = 0; i < bias.size(); ++i) bias[i] += own[i];
  }
  if (has_bias) {
    INTAGLIO_ASSIGN(side->bias, upload(context, bias));
  }
  return side;
}

size_t side_branch_scratch_bytes(const Context& context, const LinearWeights& weights, int64_t m,
                                 DType out_dtype) {
  const SideBranch& side = *weights.side;
  const auto bytes_of = [&](int64_t rows) {
    if (rows == 0) return size_t{0};
    return std::max(
        align_up(side.up_product->scratch_bytes(up_desc(weights, rows), context.threads),
                 kCacheLine),
        weights.implementation->scratch_bytes(context, weights, {.x = {.rows = rows}}));
  };
  const size_t narrow =
      arena_bytes<std::byte>(m * side.rank * static_cast<int64_t>(dtype_size(side.dtype)));
  const size_t down = align_up(
      side.down_product->scratch_bytes(down_desc(weights, m), context.threads), kCacheLine);
  if (is_fused(weights, side.dtype)) {
    return narrow +
           std::max(down,
                    weights.implementation->scratch_bytes(
                        context, weights,
                        {.x = {.rows = m}, .out_dtype = out_dtype, .epilogue = weights.epilogue}));
  }
  const int64_t step = rows_at_a_time(weights, m);
  return narrow + std::max(down, 2 * arena_bytes<float>(step * weights.n) +
                                     std::max(bytes_of(step), bytes_of(m % step)));
}

Status run_with_side_branch(const Context& context, const LinearWeights& weights,
                            const LinearCall& call) {
  INTAGLIO_TRY(check_call(weights, call));
  const SideBranch& side = *weights.side;
  const int64_t m = call.x.rows;
  const Arena::Scope scope(*context.scratch);
  // All of the branch's narrow rows first: the output may overwrite what they are made of.
  INTAGLIO_ASSIGN(std::byte* const narrow,
                  context.scratch->take<std::byte>(m * side.rank *
                                                   static_cast<int64_t>(dtype_size(side.dtype))));
  INTAGLIO_TRY(side.down_product->run(context, down_desc(weights, m),
                                      {.a = float_rows(call.x).data,
                                       .lda = weights.k,
                                       .w = side.down.data(),
                                       .out = narrow,
                                       .ldo = side.rank}));
  if (is_fused(weights, side.dtype)) {
    LinearCall whole = call;
    whole.side = {narrow, side.up.data(), side.rank};
    if (side.has_bias) whole.side_bias = side.bias.as<float>();
    return weights.implementation->run(context, weights, whole);
  }
  const int64_t step = rows_at_a_time(weights, m);
  INTAGLIO_ASSIGN(float* const sum, context.scratch->take<float>(step * weights.n));
  INTAGLIO_ASSIGN(float* const share, context.scratch->take<float>(step * weights.n));
  for (int64_t row = 0; row < m; row += step) {
    const int64_t rows = std::min(step, m - row);
    INTAGLIO_TRY(weights.implementation->run(
        context, weights,
        {.x = rows_of(call.x, row, rows), .out = sum, .out_dtype = DType::kF32, .ldo = weights.n}));
    INTAGLIO_TRY(side.up_product->run(context, up_desc(weights, rows),
                                      {.a = advance(narrow, side.dtype, row * side.rank),
                                       .lda = side.rank,
                                       .w = side.up.data(),
                                       .bias = side.has_bias ? side.bias.as<float>() : nullptr,
                                       .out = share,
                                       .ldo = weights.n}));
    INTAGLIO_TRY(add_in_place(context, {sum, share, DType::kF32, rows * weights.n}));
    LinearCall part = call;
    part.out = const_cast<void*>(advance(call.out, call.out_dtype, row * call.ldo));
    INTAGLIO_TRY(write_out(context, weights, part, sum, share, rows));
  }
  return {};
}

}  // namespace intaglio
