#include "bench/bench_linear_case.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <span>

#include "bench/onednn_baseline.h"
#include "core/cpu_features.h"
#include "core/parallel.h"
#include "core/relative_error.h"
#include "ops/float_gemm.h"
#include "ops/linear.h"
#include "ops/quantize.h"
#include "ops/ref/s8_gemm.h"
#include "ops/s8_gemm.h"

namespace intaglio::cli {
namespace {

// bf16 results: one rounding of 2^-9 at most. Quantized ones against the float product: rows of
// normal values have an absolute maximum near 4 deviations, so a step is 4/127 and its rounding
// error 0.9 % on each side, 1.3 % together; twice that is wrong.
constexpr double kBf16Tolerance = 4e-3;
constexpr double kF32Tolerance = 1e-5;
constexpr double kQuantizedTolerance = 2.6e-2;
constexpr double kMaxReferenceOps = 1e9;

struct Builder {
  Context& context;
  Arena& arena;
  std::shared_ptr<const LinearData> data;
  std::vector<std::string>& skipped;
  std::vector<Candidate> candidates = {};

  Status reserve(size_t bytes) {
    if (arena.capacity() < bytes) {
      INTAGLIO_ASSIGN(arena, Arena::with_capacity(bytes));
    }
    context.scratch = &arena;
    return {};
  }
  bool too_slow(std::string_view name) {
    const LinearShape& s = data->shape;
    const double ops =
        2.0 * static_cast<double>(s.m) * static_cast<double>(s.n) * static_cast<double>(s.k);
    return name.starts_with("ref_") && ops > kMaxReferenceOps;
  }
  Status add_s8();
  Status add_float(DType dtype);
  Status add_onednn(DType dtype);
  Status add_linear(LinearKind kind);
};

std::shared_ptr<AlignedBuffer> shared_buffer(Expected<AlignedBuffer> buffer) {
  return buffer ? std::make_shared<AlignedBuffer>(std::move(*buffer)) : nullptr;
}

tl::unexpected<Error> no_memory() {
  return make_error(ErrorCode::kOutOfMemory, "not enough memory for this shape");
}

// The checked rows of an output [m, n] as float.
std::vector<float> checked_rows(const LinearData& data, const void* out, DType dtype) {
  const auto n = static_cast<size_t>(data.shape.n);
  std::vector<float> result(data.rows.size() * n);
  for (size_t i = 0; i < data.rows.size(); ++i) {
    const size_t offset = static_cast<size_t>(data.rows[i]) * n * dtype_size(dtype);
    convert_to_f32(static_cast<const std::byte*>(out) + offset, dtype, result.data() + i * n, n);
  }
  return result;
}

double float_error(const LinearData& data, const void* out, DType dtype) {
  const std::vector<float> rows = checked_rows(data, out, dtype);
  return relative_error(rows, std::span(data.product).first(rows.size()));
}

// Infinite unless the checked rows are equal bit for bit.
double integer_error(const LinearData& data, const int32_t* out) {
  const auto n = static_cast<size_t>(data.shape.n);
  for (size_t i = 0; i < data.rows.size(); ++i) {
    const int32_t* row = out + static_cast<size_t>(data.rows[i]) * n;
    if (!std::equal(row, row + n, data.integer_product.data() + i * n)) return INFINITY;
  }
  return 0.0;
}

// As the fused epilogue must give them before rounding.
double scaled_error(const LinearData& data, const void* out) {
  const std::vector<float> rows = checked_rows(data, out, DType::kBF16);
  return relative_error(rows, std::span(data.scaled_product).first(rows.size()));
}

Status Builder::add_s8() {
  const LinearShape& s = data->shape;
  for (const S8GemmImplementation& gemm : s8_gemm_implementations()) {
    S8GemmDesc desc{.m = s.m, .n = s.n, .k = s.k, .out_dtype = DType::kI32};
    if (too_slow(gemm.name)) continue;
    if (const Refusal refusal = gemm.can_run(desc, context)) {
      skipped.push_back(fmt::format("{}: {}", gemm.name, refusal));
      continue;
    }
    const auto packed = shared_buffer(AlignedBuffer::allocate(gemm.packed_bytes(s.n, s.k)));
    const auto out =
        shared_buffer(AlignedBuffer::allocate(static_cast<size_t>(s.m * s.n) * sizeof(int32_t)));
    if (!packed || !out) return no_memory();
    gemm.pack(data->b.as<int8_t>(), s.n, s.k, packed->data());
    INTAGLIO_TRY(reserve(gemm.scratch_bytes(desc, context)));
    const S8GemmArgs args{.a = data->a.as<int8_t>(),
                          .lda = s.k,
                          .a_scale_row = data->a_scale.data(),
                          .w_packed = packed->data(),
                          .w_scale_col = data->b_scale.data(),
                          .out = out->data(),
                          .ldo = s.n};
    Candidate candidate;
    candidate.name = gemm.name;
    candidate.tolerance = kBf16Tolerance;
    INTAGLIO_TRY(gemm.run(context, desc, args));
    candidate.error = integer_error(*data, out->as<int32_t>());
    desc.out_dtype = DType::kBF16;
    INTAGLIO_TRY(reserve(gemm.scratch_bytes(desc, context)));
    INTAGLIO_TRY(gemm.run(context, desc, args));
    candidate.error = std::max(candidate.error, scaled_error(*data, out->data()));
    candidate.extra = {
        {"input", "int8"}, {"output", "bf16"}, {"check", "int32 equal; bf16 after scales"}};
    candidate.run = [this_context = &context, gemm = &gemm, desc, args, packed, out, data = data] {
      return gemm->run(*this_context, desc, args);
    };
    candidates.push_back(std::move(candidate));
  }
  return {};
}

Status Builder::add_float(DType dtype) {
  const LinearShape& s = data->shape;
  const FloatGemmDesc desc{
      .m = s.m, .n = s.n, .k = s.k, .in_dtype = dtype, .out_dtype = dtype, .has_bias = false};
  const void* x = dtype == DType::kF32 ? data->x_f32.data() : data->x.data();
  const void* w = dtype == DType::kF32 ? data->w_f32.data() : data->w.data();
  for (const FloatGemmImplementation& gemm : float_gemm_implementations()) {
    if (too_slow(gemm.name)) continue;
    if (const Refusal refusal = gemm.can_run(desc, context)) {
      skipped.push_back(fmt::format("{} {}: {}", gemm.name, dtype_name(dtype), refusal));
      continue;
    }
    const size_t packed_bytes = gemm.packed_bytes(desc);
    const auto packed = shared_buffer(AlignedBuffer::allocate(packed_bytes));
    const auto out =
        shared_buffer(AlignedBuffer::allocate(static_cast<size_t>(s.m * s.n) * dtype_size(dtype)));
    if (!packed || !out) return no_memory();
    if (packed_bytes > 0) INTAGLIO_TRY(gemm.pack(desc, w, packed->data()));
    INTAGLIO_TRY(reserve(gemm.scratch_bytes(desc, context.threads)));
    const FloatGemmArgs args{.a = x,
                             .lda = s.k,
                             .w = packed_bytes > 0 ? packed->data() : w,
                             .out = out->data(),
                             .ldo = s.n};
    INTAGLIO_TRY(gemm.run(context, desc, args));
    Candidate candidate;
    candidate.name = fmt::format("{} {}", gemm.name, dtype == DType::kF32 ? "f32" : "bf16");
    candidate.tolerance = dtype == DType::kF32 ? kF32Tolerance : kBf16Tolerance;
    candidate.error = float_error(*data, out->data(), dtype);
    candidate.extra = {{"input", dtype_name(dtype)}, {"output", dtype_name(dtype)}};
    candidate.run = [this_context = &context, gemm = &gemm, desc, args, packed, out, data = data] {
      return gemm->run(*this_context, desc, args);
    };
    candidates.push_back(std::move(candidate));
  }
  return {};
}

Status Builder::add_onednn(DType dtype) {
  const LinearShape& s = data->shape;
  const bool integers = dtype == DType::kI8;
  const std::string name = integers ? "onednn s8s8s32" : "onednn bf16";
  if (!has_onednn()) {
    skipped.push_back(name + ": built without oneDNN");
    return {};
  }
  // vpmaddubsw adds two products in 16 bits.
  if (integers && host_cpu_features().isa < CpuIsa::kAvx512Vnni) {
    skipped.push_back(name + ": without AVX512-VNNI oneDNN's sums may saturate at 16 bits");
    return {};
  }
  const auto out =
      shared_buffer(AlignedBuffer::allocate(static_cast<size_t>(s.m * s.n) * (integers ? 4 : 2)));
  if (!out) return no_memory();
  auto product =
      onednn_matmul(dtype, s.m, s.n, s.k, integers ? data->a.data() : data->x.data(),
                    integers ? data->b.data() : data->w.data(), out->data(), context.threads);
  if (!product) {
    skipped.push_back(fmt::format("{}: {}", name, product.error().message));
    return {};
  }
  INTAGLIO_TRY((*product)());
  Candidate candidate;
  candidate.name = name;
  candidate.tolerance = integers ? 0.0 : kBf16Tolerance;
  candidate.error = integers ? integer_error(*data, out->as<int32_t>())
                             : float_error(*data, out->data(), DType::kBF16);
  candidate.extra = {{"input", integers ? "int8" : "bf16"},
                     {"output", integers ? "int32, no scales" : "bf16"}};
  candidate.run = [run = std::move(*product), out, data = data] { return run(); };
  candidates.push_back(std::move(candidate));
  return {};
}

// The layer as models call it: bf16 rows in, quantized on the way where the weights are int8.
Status Builder::add_linear(LinearKind kind) {
  const LinearShape& s = data->shape;
  const TensorView w{data->w.data(), DType::kBF16, {s.n, s.k}};
  Expected<LinearWeights> made =
      make_linear(context, kind, GemmEpilogue::kNone, {.parts = float_parts({{w}})});
  if (!made) {
    skipped.push_back(fmt::format("linear {}: {}", linear_kind_name(kind), made.error().message));
    return {};
  }
  const auto weights = std::make_shared<const LinearWeights>(std::move(*made));
  const auto out =
      shared_buffer(AlignedBuffer::allocate(static_cast<size_t>(s.m * s.n) * sizeof(BFloat16)));
  const auto quantized = shared_buffer(AlignedBuffer::allocate(static_cast<size_t>(s.m * s.k)));
  const auto scales = std::make_shared<std::vector<float>>(static_cast<size_t>(s.m));
  if (!out || !quantized) return no_memory();
  INTAGLIO_TRY(reserve(linear_scratch_bytes(context, *weights, s.m, DType::kBF16)));
  Candidate candidate;
  candidate.name = fmt::format("linear {}", linear_kind_name(kind));
  candidate.tolerance = weights->input_dtype() == DType::kI8 ? kQuantizedTolerance : kBf16Tolerance;
  candidate.extra = {
      {"input", "bf16"}, {"output", "bf16"}, {"includes", "quantization of the activations"}};
  candidate.run = [this_context = &context, weights, out, quantized, scales,
                   data = data]() -> Status {
    const LinearShape& shape = data->shape;
    Activation x{DType::kBF16, data->x.data(), shape.m, shape.k, nullptr};
    if (weights->input_dtype() == DType::kI8) {
      const Activation target{DType::kI8, quantized->data(), shape.m, shape.k, scales->data()};
      INTAGLIO_TRY(
          quantize_rows(*this_context, {data->x.data(), DType::kBF16, {shape.m, shape.k}}, target));
      x = target;
    }
    return linear(*this_context, *weights, x, out->data(), DType::kBF16, shape.n);
  };
  INTAGLIO_TRY(candidate.run());
  candidate.error = float_error(*data, out->data(), DType::kBF16);
  candidates.push_back(std::move(candidate));
  return {};
}

Expected<AlignedBuffer> random_bf16(int64_t count, uint32_t seed) {
  INTAGLIO_ASSIGN(AlignedBuffer buffer,
                  AlignedBuffer::allocate(static_cast<size_t>(count) * sizeof(BFloat16)));
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  // A long period of drawn values repeated: drawing hundreds of millions would take longer than the
  // benchmark. Its length is prime so that no row repeats another at the widths of real models.
  constexpr int64_t kPeriod = 1'000'003;
  auto* values = buffer.as<BFloat16>();
  for (int64_t i = 0; i < std::min(count, kPeriod); ++i) values[i] = BFloat16(normal(random));
  for (int64_t i = kPeriod; i < count; ++i) values[i] = values[i - kPeriod];
  return buffer;
}

Expected<AlignedBuffer> widen(const AlignedBuffer& source, int64_t count) {
  INTAGLIO_ASSIGN(AlignedBuffer buffer,
                  AlignedBuffer::allocate(static_cast<size_t>(count) * sizeof(float)));
  convert_to_f32(source.data(), DType::kBF16, buffer.as<float>(), static_cast<size_t>(count));
  return buffer;
}

// Columns [begin, end) of the checked rows, by the reference of int8 products.
void fill_int8_products(LinearData& data, int64_t begin, int64_t end) {
  const LinearShape& s = data.shape;
  const ref::S8Rows b{data.b.as<int8_t>() + begin * s.k, s.k};
  for (size_t i = 0; i < data.rows.size(); ++i) {
    const int64_t row = data.rows[i];
    const ref::S8Rows a{data.a.as<int8_t>() + row * s.k, s.k};
    const int64_t at = static_cast<int64_t>(i) * s.n + begin;
    S8Epilogue e{};
    e.a_scale_row = data.a_scale.data() + row;
    e.w_scale_col = data.b_scale.data() + begin;
    e.ldo = e.n = end - begin;
    e.out_type = DType::kI32;
    e.out = data.integer_product.data() + at;
    ref::s8_gemm_rows(e, a, b, s.k, 0, 1);
    e.out_type = DType::kF32;
    e.out = data.scaled_product.data() + at;
    ref::s8_gemm_rows(e, a, b, s.k, 0, 1);
  }
}

// The checked rows.
void fill_products(const Context& context, LinearData& data) {
  const LinearShape& s = data.shape;
  data.product.resize(data.rows.size() * static_cast<size_t>(s.n));
  data.integer_product.resize(data.product.size());
  data.scaled_product.resize(data.product.size());
  parallel_for(context.threads, s.n, 64, [&](int64_t begin, int64_t end, int) {
    fill_int8_products(data, begin, end);
    for (int64_t col = begin; col < end; ++col) {
      for (size_t i = 0; i < data.rows.size(); ++i) {
        const BFloat16* x = data.x.as<BFloat16>() + data.rows[i] * s.k;
        const BFloat16* w = data.w.as<BFloat16>() + col * s.k;
        double sum = 0;
        for (int64_t c = 0; c < s.k; ++c) {
          sum += static_cast<double>(static_cast<float>(x[c])) *
                 static_cast<double>(static_cast<float>(w[c]));
        }
        data.product[i * static_cast<size_t>(s.n) + static_cast<size_t>(col)] =
            static_cast<float>(sum);
      }
    }
  });
}

}  // namespace

Expected<std::shared_ptr<const LinearData>> make_linear_data(const Context& context,
                                                             const LinearShape& shape,
                                                             bool with_f32) {
  auto data = std::make_shared<LinearData>();
  data->shape = shape;
  INTAGLIO_ASSIGN(data->x, random_bf16(shape.m * shape.k, 1));
  INTAGLIO_ASSIGN(data->w, random_bf16(shape.n * shape.k, 2));
  INTAGLIO_ASSIGN(data->a, AlignedBuffer::allocate(static_cast<size_t>(shape.m * shape.k)));
  INTAGLIO_ASSIGN(data->b, AlignedBuffer::allocate(static_cast<size_t>(shape.n * shape.k)));
  if (with_f32) {
    INTAGLIO_ASSIGN(data->x_f32, widen(data->x, shape.m * shape.k));
    INTAGLIO_ASSIGN(data->w_f32, widen(data->w, shape.n * shape.k));
  }
  data->a_scale.resize(static_cast<size_t>(shape.m));
  data->b_scale.resize(static_cast<size_t>(shape.n));
  INTAGLIO_TRY(quantize_rows(context, {data->x.data(), DType::kBF16, {shape.m, shape.k}},
                             {DType::kI8, data->a.data(), shape.m, shape.k, data->a_scale.data()}));
  INTAGLIO_TRY(quantize_weight_rows(context,
                                    {.values = {data->w.data(), DType::kBF16, {shape.n, shape.k}}},
                                    data->b.as<int8_t>(), data->b_scale.data()));
  data->rows = {0, shape.m / 3, shape.m * 2 / 3, shape.m - 1};
  data->rows.erase(std::unique(data->rows.begin(), data->rows.end()), data->rows.end());
  fill_products(context, *data);
  return data;
}

Expected<std::vector<Candidate>> linear_candidates(Context& context, Arena& arena,
                                                   const std::shared_ptr<const LinearData>& data,
                                                   const std::vector<std::string>& precisions,
                                                   std::vector<std::string>& skipped) {
  Builder builder{context, arena, data, skipped};
  for (const std::string& precision : precisions) {
    if (precision == "int8") {
      INTAGLIO_TRY(builder.add_s8());
      INTAGLIO_TRY(builder.add_onednn(DType::kI8));
      INTAGLIO_TRY(builder.add_linear(LinearKind::kS8));
    } else if (precision == "bf16") {
      INTAGLIO_TRY(builder.add_float(DType::kBF16));
      INTAGLIO_TRY(builder.add_onednn(DType::kBF16));
    } else if (precision == "fp32") {
      INTAGLIO_TRY(builder.add_float(DType::kF32));
    } else {
      INTAGLIO_TRY(builder.add_linear(LinearKind::kS8Dequant));
    }
  }
  return std::move(builder.candidates);
}

}  // namespace intaglio::cli
