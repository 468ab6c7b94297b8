// Linears of every kind against float64 products of the same weights, at every instruction-set
// level of this machine and on its GPU.
#include "ops/linear.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "ops/quantize.h"
#include "ops/ref/reference_math.h"
#include "support/operands.h"
#include "support/tested_devices.h"

namespace intaglio {
namespace {

// A float tensor in any type, kept with the values it really holds.
struct Tensor {
  std::vector<std::byte> bytes;
  std::vector<double> values;
  TensorView view;

  Tensor(DType dtype, Shape shape, uint32_t seed, size_t misalign = 0) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    const auto count = static_cast<size_t>(shape.count());
    bytes.resize(count * dtype_size(dtype) + misalign);
    for (size_t i = 0; i < count; ++i) {
      const float x = normal(random);
      std::byte* at = bytes.data() + misalign + i * dtype_size(dtype);
      const auto put = [&](auto value) {
        std::memcpy(at, &value, sizeof(value));
        values.push_back(static_cast<double>(static_cast<float>(value)));
      };
      if (dtype == DType::kBF16) {
        put(BFloat16(x));
      } else if (dtype == DType::kF16) {
        put(Float16(x));
      } else {
        put(x);
      }
    }
    view = {bytes.data() + misalign, dtype, shape};
  }
};

struct Case {
  LinearKind kind;
  GemmEpilogue epilogue;
  DType out_dtype;
  bool bias;
  int64_t m, part_n, k;
};

// What the rounding of the weights and activations to the kind's type may cost; the products are
// then exact to fp32.
double as_weight(LinearKind kind, double w) {
  return kind == LinearKind::kBF16
             ? static_cast<double>(static_cast<float>(BFloat16(static_cast<float>(w))))
             : w;
}

// int8 rows of a tensor by the stated formula, as real values.
std::vector<double> quantized_values(const Context& context, const Tensor& tensor) {
  const int64_t rows = tensor.view.shape[0];
  const int64_t cols = tensor.view.shape[1];
  std::vector<float> floats(tensor.values.begin(), tensor.values.end());
  std::vector<int8_t> q(floats.size());
  std::vector<float> scale(static_cast<size_t>(rows));
  EXPECT_TRUE(quantize_weight_rows(context, {.values = {floats.data(), DType::kF32, {rows, cols}}},
                                   q.data(), scale.data()));
  std::vector<double> values;
  for (size_t i = 0; i < q.size(); ++i) {
    values.push_back(static_cast<double>(q[i]) *
                     static_cast<double>(scale[i / static_cast<size_t>(cols)]));
  }
  return values;
}

void check(const Context& base, const std::string& device, Case c, DType weight_dtype,
           size_t misalign) {
  SCOPED_TRACE(fmt::format("{} at {} {} out={} bias={} m={} n={} k={} weights {} misaligned by {}",
                           linear_kind_name(c.kind), device, epilogue_name(c.epilogue),
                           dtype_name(c.out_dtype), c.bias, c.m, c.part_n, c.k,
                           dtype_name(weight_dtype), misalign));
  Context context = base;
  const bool on_gpu = context.gpu != nullptr;
  c.kind = kind_at_size(on_gpu ? DeviceKind::kGpu : DeviceKind::kCpu, c.kind, c.part_n, c.k);
  const bool int8 = c.kind == LinearKind::kS8 || c.kind == LinearKind::kS8Dequant;
  const bool gated = is_gated(c.epilogue);
  Tensor w0(weight_dtype, {c.part_n, c.k}, 1, misalign),
      w1(weight_dtype, {c.part_n, c.k}, 2, misalign);
  Tensor b1(DType::kBF16, {c.part_n}, 3, 1);
  std::vector<TensorView> parts{w0.view, w1.view};
  std::vector<TensorView> biases;
  if (c.bias) biases = {TensorView{}, b1.view};
  auto weights =
      make_linear(context, c.kind, c.epilogue, {.parts = float_parts(parts), .biases = biases});
  ASSERT_TRUE(weights) << weights.error().message;
  const int64_t cols = weights->out_cols();
  ASSERT_GE(cols, gated ? c.part_n : 2 * c.part_n);

  // A GPU's kS8Dequant multiplies in bf16.
  const DType input = weights->input_dtype();
  Tensor x(input == DType::kBF16 ? DType::kBF16 : DType::kF32, {c.m, c.k}, 4);
  std::vector<float> row_scale(static_cast<size_t>(c.m));
  std::vector<int8_t> q(x.values.size());
  test::Operands on(context);
  const TensorView rows{on.in(x.bytes.data(), x.bytes.size()), x.view.dtype, x.view.shape};
  Activation activation{rows.dtype, const_cast<void*>(rows.data), c.m, c.k, nullptr};
  if (input == DType::kI8) {
    activation = {DType::kI8, on.out(q.data(), q.size()), c.m, c.k,
                  on.out(row_scale.data(), row_scale.size())};
    ASSERT_TRUE(quantize_rows(context, rows, activation));
  }

  const size_t planned = linear_scratch_bytes(context, *weights, c.m, c.out_dtype);
  // A plan made before there are weights says the same.
  const auto described = plan_linear(
      context,
      {.kind = c.kind, .epilogue = c.epilogue, .n = 2 * c.part_n, .k = c.k, .has_bias = c.bias});
  ASSERT_TRUE(described) << described.error().message;
  EXPECT_EQ(linear_scratch_bytes(context, *described, c.m, c.out_dtype), planned);
  EXPECT_EQ(described->implementation, weights->implementation);
  EXPECT_EQ(described->float_gemm, weights->float_gemm);
  EXPECT_EQ(described->s8_gemm, weights->s8_gemm);
  EXPECT_EQ(described->input_dtype(), weights->input_dtype());
  auto memory = allocate(context, planned);
  ASSERT_TRUE(memory);
  Arena arena(std::move(*memory));
  context.scratch = &arena;
  // The fast float products of a GPU take dense rows alone, and so does the pass after one.
  const bool dense = c.bias || (needs_pass(c.epilogue) && input != DType::kI8);
  const int64_t ldo = on_gpu && dense ? cols : cols + 3;
  std::vector<float> f32(static_cast<size_t>(c.m * ldo), 7.0f);
  std::vector<BFloat16> bf16(f32.size(), BFloat16(7.0f));
  void* const out = c.out_dtype == DType::kBF16
                        ? static_cast<void*>(on.out(bf16.data(), bf16.size()))
                        : on.out(f32.data(), f32.size());
  const Status status = linear(context, *weights, activation, out, c.out_dtype, ldo);
  ASSERT_TRUE(status) << status.error().message;
  on.fetch();
  EXPECT_EQ(arena.used(), 0u);
  // The plan is exact: everything of it was used. On a GPU a product that the library has not runs
  // without its workspace.
  if (!on_gpu) {
    EXPECT_EQ(arena.peak(), arena.capacity());
  }

  std::vector<double> xv = x.values;
  for (size_t i = 0; input == DType::kI8 && i < xv.size(); ++i)
    xv[i] =
        static_cast<double>(q[i]) * static_cast<double>(row_scale[i / static_cast<size_t>(c.k)]);
  std::vector<double> wv[2] = {w0.values, w1.values};
  if (int8) {
    wv[0] = quantized_values(test::host_context(), w0);
    wv[1] = quantized_values(test::host_context(), w1);
  }

  // fp32 sums of k unit products; the baseline rounds both operands to bf16, 2^-9 each, which adds
  // up as sqrt(k).
  double tolerance = 2e-6 * static_cast<double>(c.k + 4);
  if (c.kind == LinearKind::kS8Dequant)
    tolerance += 6.0 * std::sqrt(static_cast<double>(c.k)) / 256;
  // What a GPU's pass after a bf16 product reads is bf16: half a unit of at most 6 deviations.
  if (on_gpu && needs_pass(c.epilogue) && input == DType::kBF16)
    tolerance += 6.0 * std::sqrt(static_cast<double>(c.k)) / 512;
  for (int64_t r = 0; r < c.m; ++r) {
    const auto product = [&](int64_t part, int64_t n) {
      double sum = c.bias && part == 1 ? b1.values[static_cast<size_t>(n)] : 0.0;
      for (int64_t k = 0; k < c.k; ++k) {
        sum += xv[static_cast<size_t>(r * c.k + k)] *
               as_weight(c.kind, wv[part][static_cast<size_t>(n * c.k + k)]);
      }
      return sum;
    };
    for (int64_t j = 0; j < ldo; ++j) {
      const auto at = static_cast<size_t>(r * ldo + j);
      const double y = c.out_dtype == DType::kBF16
                           ? static_cast<double>(static_cast<float>(bf16[at]))
                           : static_cast<double>(f32[at]);
      double expected = 0.0;
      double allowed = tolerance;
      if (j >= cols) {
        expected = 7.0;
        allowed = 0.0;
      } else if (!gated || j < c.part_n) {
        const double product_value = gated ? product(0, j) : product(j / c.part_n, j % c.part_n);
        visit_epilogue(c.epilogue, [&](auto epilogue) {
          expected =
              activate<ReferenceMath>(typename decltype(epilogue)::Function{}, product_value);
        });
        // No activation is steeper than 1.2.
        if (needs_pass(c.epilogue)) allowed *= 1.2;
        if (gated) {
          const double up = product(1, j);
          expected *= up;
          allowed *= std::abs(product_value) + std::abs(up) + 1.0;
        }
      }
      if (c.out_dtype == DType::kBF16 && j < cols) allowed += std::abs(expected) / 256;
      ASSERT_NEAR(y, expected, allowed) << "at " << r << ", " << j;
    }
  }
}

TEST(linear, every_kind_on_every_device) {
  test::each_device([](const Context& context, const std::string& device) {
    for (const LinearKind kind :
         {LinearKind::kF32, LinearKind::kBF16, LinearKind::kS8, LinearKind::kS8Dequant}) {
      for (const GemmEpilogue epilogue : kGemmEpilogues) {
        for (const DType out : {DType::kF32, DType::kBF16}) {
          const auto run = [&](bool bias, int64_t m, int64_t part_n, int64_t k, DType weights,
                               size_t misalign) {
            check(context, device, {kind, epilogue, out, bias, m, part_n, k}, weights, misalign);
          };
          run(true, 1, 16, 32, DType::kBF16, 0);
          run(false, 7, 48, 65, DType::kF32, 0);
          run(true, 21, 37, 40, DType::kF16, 0);
          run(false, 10, 5, 17, DType::kBF16, 1);
          run(true, 33, 37, 48, DType::kF32, 0);
          run(false, 9, 24, 80, DType::kBF16, 0);
        }
        if (testing::Test::HasFatalFailure()) return;
      }
    }
  });
}

// More rows than an epilogue takes at a time (512) and more columns than a dequantizing step (8 MiB
// of bf16 weights).
TEST(linear, steps_leave_no_seam) {
  const Context host = test::host_context();
  for (const GemmEpilogue epilogue : kGemmEpilogues) {
    check(host, "host", {LinearKind::kBF16, epilogue, DType::kBF16, true, 530, 20, 16},
          DType::kBF16, 0);
    check(host, "host", {LinearKind::kS8Dequant, epilogue, DType::kF32, true, 3, 100, 30000},
          DType::kBF16, 0);
  }
}

TEST(linear, one_bf16_weight_is_used_where_it_lies) {
  const Context context = test::host_context();
  const Tensor w(DType::kBF16, {32, 16}, 1);
  const auto weights = make_linear(context, LinearKind::kBF16, GemmEpilogue::kNone,
                                   {.parts = float_parts({{w.view}})});
  ASSERT_TRUE(weights);
  EXPECT_EQ(weights->borrowed, w.view.data);
  EXPECT_EQ(weights->size_bytes(), 0u);
}

TEST(linear, fp8_and_nf4_have_no_form_on_a_cpu) {
  const Context context = test::host_context();
  const Tensor w(DType::kBF16, {64, 128}, 1);
  for (const auto& [kind, reason] :
       {std::pair{LinearKind::kF8, "fp8 needs a GPU of compute capability 8.9 or newer"},
        std::pair{LinearKind::kNf4, "nf4 needs a GPU"}}) {
    const auto weights =
        make_linear(context, kind, GemmEpilogue::kNone, {.parts = float_parts({{w.view}})});
    ASSERT_FALSE(weights);
    EXPECT_EQ(weights.error().code, ErrorCode::kUnsupported);
    EXPECT_NE(weights.error().message.find(reason), std::string::npos) << weights.error().message;
  }
}

TEST(linear, sizes_without_a_product_run_in_bf16) {
  EXPECT_EQ(kind_at_size(DeviceKind::kGpu, LinearKind::kF8, 48, 160), LinearKind::kF8);
  EXPECT_EQ(kind_at_size(DeviceKind::kGpu, LinearKind::kF8, 40, 160), LinearKind::kBF16);
  EXPECT_EQ(kind_at_size(DeviceKind::kGpu, LinearKind::kF8, 48, 168), LinearKind::kBF16);
  EXPECT_EQ(kind_at_size(DeviceKind::kGpu, LinearKind::kNf4, 7, 128), LinearKind::kNf4);
  EXPECT_EQ(kind_at_size(DeviceKind::kGpu, LinearKind::kNf4, 64, 96), LinearKind::kBF16);
  for (LinearKind kind :
       {LinearKind::kF32, LinearKind::kBF16, LinearKind::kS8, LinearKind::kS8Dequant})
    EXPECT_EQ(kind_at_size(DeviceKind::kCpu, kind, 3, 5), kind);
  for (LinearKind kind : {LinearKind::kS8, LinearKind::kS8Dequant}) {
    EXPECT_EQ(kind_at_size(DeviceKind::kGpu, kind, 3, 48), kind);
    EXPECT_EQ(kind_at_size(DeviceKind::kGpu, kind, 3, 60), LinearKind::kBF16);
  }
  EXPECT_EQ(kind_at_size(DeviceKind::kGpu, LinearKind::kF32, 3, 5), LinearKind::kF32);
  EXPECT_EQ(kind_at_size(DeviceKind::kGpu, LinearKind::kBF16, 3, 5), LinearKind::kBF16);
}

TEST(linear, refuses_what_does_not_fit) {
  Context context = test::host_context();
  const Tensor a(DType::kF32, {32, 16}, 1), narrower(DType::kF32, {32, 15}, 2),
      shorter(DType::kF32, {16, 16}, 3);
  const auto make = [&](GemmEpilogue epilogue, std::vector<TensorView> parts,
                        std::vector<TensorView> biases = {}) {
    return make_linear(context, LinearKind::kF32, epilogue,
                       {.parts = float_parts(parts), .biases = biases});
  };
  EXPECT_FALSE(make(GemmEpilogue::kNone, {}));
  EXPECT_FALSE(make(GemmEpilogue::kNone, {TensorView{}}));
  EXPECT_FALSE(make(GemmEpilogue::kNone, {a.view, narrower.view}));
  EXPECT_FALSE(make(GemmEpilogue::kSwiglu, {a.view}));
  EXPECT_FALSE(make(GemmEpilogue::kSwiglu, {a.view, shorter.view}));
  EXPECT_FALSE(make(GemmEpilogue::kNone, {a.view}, {a.view}));
  EXPECT_FALSE(make(GemmEpilogue::kNone, {a.view}, {a.view, a.view}));
  EXPECT_FALSE(make(GemmEpilogue::kNone, {TensorView{a.view.data, DType::kI8, {32, 16}}}));

  const auto weights = make(GemmEpilogue::kNone, {a.view});
  ASSERT_TRUE(weights);
  auto arena = Arena::with_capacity(1 << 20);
  ASSERT_TRUE(arena);
  context.scratch = &*arena;
  std::vector<float> x(64), out(128);
  EXPECT_TRUE(linear(context, *weights, {DType::kF32, x.data(), 2, 16, nullptr}, out.data(),
                     DType::kF32, 32));
  EXPECT_FALSE(linear(context, *weights, {DType::kF32, x.data(), 2, 15, nullptr}, out.data(),
                      DType::kF32, 32));
  EXPECT_FALSE(linear(context, *weights, {DType::kBF16, x.data(), 2, 16, nullptr}, out.data(),
                      DType::kF32, 32));
  EXPECT_FALSE(linear(context, *weights, {DType::kF32, x.data(), 2, 16, nullptr}, out.data(),
                      DType::kI8, 32));
  EXPECT_FALSE(linear(context, *weights, {DType::kF32, x.data(), 2, 16, nullptr}, out.data(),
                      DType::kF32, 31));
}

}  // namespace
}  // namespace intaglio
