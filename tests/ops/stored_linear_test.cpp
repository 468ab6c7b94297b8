// Linears of int8 rows as files hold them: taken in their own grid, with their rotation and their
// smoothing, on every instruction set.
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "ops/linear.h"
#include "quant/rotation.h"
#include "support/tested_cpus.h"
#include "unit/io/formats/format_files.h"

namespace intaglio {
namespace {

// int8 rows with scales, and what they stand for.
struct Int8Rows {
  std::vector<int8_t> q;
  std::vector<float> scales, smooth;
  StoredLinear linear;

  Int8Rows(int64_t n, int64_t k, uint32_t seed, Rotation rotation = {}, bool smoothed = false) {
    std::mt19937 random(seed);
    std::uniform_int_distribution<int> codes(-128, 127);
    std::uniform_real_distribution<float> positive(0.01f, 2.0f);
    q.resize(static_cast<size_t>(n * k));
    for (int8_t& code : q) code = static_cast<int8_t>(codes(random));
    for (int64_t r = 0; r < n; ++r) scales.push_back(positive(random) * 0.01f);
    if (smoothed)
      for (int64_t c = 0; c < k; ++c) smooth.push_back(positive(random));
    linear = {.encoding = Encoding::kInt8Rows,
              .values = {q.data(), DType::kI8, {n, k}},
              .scales = {scales.data(), DType::kF32, {n}},
              .rotation = rotation};
    if (smoothed) linear.smooth = {smooth.data(), DType::kF32, {k}};
  }
};

struct Rows {
  std::vector<BFloat16> values;
  std::vector<float> floats;
  int64_t m, k;

  Rows(int64_t rows, int64_t cols, uint32_t seed) : m(rows), k(cols) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    for (int64_t i = 0; i < m * k; ++i) values.emplace_back(normal(random));
    for (const BFloat16 value : values) floats.push_back(static_cast<float>(value));
  }
};

// y of the linear for rows of F32 or bf16, made ready as it says.
std::vector<float> run(Context& context, const LinearWeights& weights, const Rows& x,
                       DType dtype = DType::kBF16) {
  const void* const rows =
      dtype == DType::kF32 ? static_cast<const void*>(x.floats.data()) : x.values.data();
  std::vector<int8_t> q(x.values.size());
  std::vector<float> scale(static_cast<size_t>(x.m));
  Activation input{DType::kBF16, const_cast<BFloat16*>(x.values.data()), x.m, x.k, nullptr};
  std::vector<float> wide(x.floats);
  if (weights.input_dtype() == DType::kF32) input = {DType::kF32, wide.data(), x.m, x.k, nullptr};
  if (weights.input_dtype() == DType::kI8) {
    input = weights.input_at(q.data(), x.m, scale.data());
    EXPECT_TRUE(quantize_rows(context, {rows, dtype, {x.m, x.k}}, input, weights.columns()));
  }
  auto arena =
      Arena::with_capacity(linear_scratch_bytes(context, weights, x.m, DType::kF32)).value();
  context.scratch = &arena;
  std::vector<float> y(static_cast<size_t>(x.m * weights.out_cols()));
  const Status status = linear(context, weights, input, y.data(), DType::kF32, weights.out_cols());
  EXPECT_TRUE(status) << status.error().message;
  context.scratch = nullptr;
  return y;
}

// x W^T in float64, W as floats.
std::vector<double> exact(const std::vector<StoredLinear>& parts, const Rows& x) {
  std::vector<double> y;
  for (int64_t r = 0; r < x.m; ++r) {
    for (const StoredLinear& part : parts) {
      std::vector<float> w(static_cast<size_t>(x.k));
      for (int64_t n = 0; n < part.n(); ++n) {
        dequantize_row(part, n, w.data());
        double sum = 0.0;
        for (int64_t c = 0; c < x.k; ++c)
          sum += static_cast<double>(w[static_cast<size_t>(c)]) *
                 static_cast<double>(x.floats[static_cast<size_t>(r * x.k + c)]);
        y.push_back(sum);
      }
    }
  }
  return y;
}

// Largest difference over the largest value.
double difference(const std::vector<float>& got, const std::vector<double>& expected) {
  double most = 0.0, largest = 0.0;
  for (size_t i = 0; i < expected.size(); ++i) {
    most = std::max(most, std::abs(static_cast<double>(got[i]) - expected[i]));
    largest = std::max(largest, std::abs(expected[i]));
  }
  return most / largest;
}

// The rows of x are quantized, to 1 / 254 of their largest at worst; the weights are exact. One
// scale, group or row in the wrong place makes errors near 1.
constexpr double kOfActivations = 0.02;

TEST(StoredLinear, Int8RowsRunInTheirOwnGrid) {
  for (const CpuFeatures& cpu : test::tested_cpus()) {
    SCOPED_TRACE(cpu_isa_name(cpu.isa));
    Context context{.threads = 2, .cpu = cpu};
    for (const int64_t group : {0, 16, 256}) {
      SCOPED_TRACE(group);
      const Rotation rotation = group == 0 ? Rotation{} : Rotation::convrot(group);
      const Int8Rows a(37, 512, 1, rotation), b(20, 512, 2, rotation);
      const auto weights = make_linear(context, LinearKind::kS8, GemmEpilogue::kNone,
                                       {.parts = {a.linear, b.linear}});
      ASSERT_TRUE(weights) << weights.error().message;
      EXPECT_TRUE(weights->as_stored);
      EXPECT_EQ(weights->turns_columns(), group != 0);
      std::vector<int8_t> unpacked(static_cast<size_t>(57 * 512));
      weights->s8_gemm->unpack_rows(weights->data(), 57, 512, 0, 57, unpacked.data());
      EXPECT_TRUE(std::equal(a.q.begin(), a.q.end(), unpacked.begin()));
      EXPECT_TRUE(std::equal(b.q.begin(), b.q.end(), unpacked.begin() + 37 * 512));
      EXPECT_TRUE(std::equal(b.scales.begin(), b.scales.end(), weights->scales.as<float>() + 37));
      const Rows x(5, 512, 3);
      EXPECT_LT(difference(run(context, *weights, x), exact({a.linear, b.linear}, x)),
                kOfActivations);
    }
  }
}

TEST(StoredLinear, SmoothedRowsDivideTheirInput) {
  for (const CpuFeatures& cpu : test::tested_cpus()) {
    Context context{.threads = 2, .cpu = cpu};
    const Int8Rows a(37, 96, 1, {}, true);
    const auto weights =
        make_linear(context, LinearKind::kS8, GemmEpilogue::kNone, {.parts = {a.linear}});
    ASSERT_TRUE(weights) << weights.error().message;
    EXPECT_TRUE(weights->turns_columns());
    const Rows x(5, 96, 3);
    EXPECT_LT(difference(run(context, *weights, x), exact({a.linear}, x)), kOfActivations);
  }
}

// Gate and up in turns of 16 rows, padded to them.
TEST(StoredLinear, GatedPairsAreInterleavedAsTheyAre) {
  for (const CpuFeatures& cpu : test::tested_cpus()) {
    Context context{.threads = 2, .cpu = cpu};
    const Int8Rows gate(20, 64, 1, Rotation::convrot(64)), up(20, 64, 2, Rotation::convrot(64));
    const auto weights = make_linear(context, LinearKind::kS8, GemmEpilogue::kSwiglu,
                                     {.parts = {gate.linear, up.linear}});
    ASSERT_TRUE(weights) << weights.error().message;
    ASSERT_EQ(weights->out_cols(), 32);
    const Rows x(3, 64, 3);
    const std::vector<float> got = run(context, *weights, x);
    const std::vector<double> g = exact({gate.linear}, x), u = exact({up.linear}, x);
    std::vector<float> kept;
    std::vector<double> expected;
    for (size_t r = 0; r < 3; ++r) {
      for (size_t c = 0; c < 20; ++c) {
        kept.push_back(got[r * 32 + c]);
        expected.push_back(g[r * 20 + c] / (1.0 + std::exp(-g[r * 20 + c])) * u[r * 20 + c]);
      }
      for (size_t c = 20; c < 32; ++c) EXPECT_EQ(got[r * 32 + c], 0.0f);
    }
    EXPECT_LT(difference(kept, expected), 2 * kOfActivations);
  }
}

// Kinds without a grid of int8, and parts that are turned in different ways, go through floats.
TEST(StoredLinear, WhatCannotStayInItsGridGoesThroughFloats) {
  Context context = test::host_context();
  const Int8Rows a(24, 64, 1, Rotation::convrot(64)), b(24, 64, 2, Rotation::convrot(16)),
      c(24, 64, 3), d(24, 64, 4, {}, true), e(24, 64, 5, {}, true);
  const Rows x(4, 64, 6);
  const auto check = [&](LinearKind kind, const std::vector<StoredLinear>& parts, double most) {
    const auto weights = make_linear(context, kind, GemmEpilogue::kNone, {.parts = parts});
    ASSERT_TRUE(weights) << weights.error().message;
    EXPECT_FALSE(weights->as_stored);
    EXPECT_FALSE(weights->turns_columns());
    EXPECT_LT(difference(run(context, *weights, x), exact(parts, x)), most);
  };
  check(LinearKind::kF32, {a.linear, d.linear}, 1e-5);
  check(LinearKind::kBF16, {a.linear, d.linear}, 1e-2);
  // Weights are quantized once more.
  check(LinearKind::kS8, {a.linear, b.linear}, 2 * kOfActivations);
  check(LinearKind::kS8, {a.linear, c.linear}, 2 * kOfActivations);
  check(LinearKind::kS8, {d.linear, e.linear}, 2 * kOfActivations);
  check(LinearKind::kS8Dequant, {a.linear}, 2 * kOfActivations);

  const auto plain =
      make_linear(context, LinearKind::kS8Dequant, GemmEpilogue::kNone, {.parts = {c.linear}});
  ASSERT_TRUE(plain);
  EXPECT_TRUE(plain->as_stored);
  EXPECT_EQ(plain->data(), plain->packed.data());
  EXPECT_TRUE(std::equal(c.q.begin(), c.q.end(), plain->packed.as<int8_t>()));
}

TEST(StoredLinear, APlanKnowsWhatTheFileDoes) {
  const Context context = test::host_context();
  const auto plan = plan_linear(context, {.kind = LinearKind::kS8,
                                          .n = 64,
                                          .k = 256,
                                          .as_stored = true,
                                          .rotation = Rotation::convrot(256)});
  ASSERT_TRUE(plan);
  EXPECT_TRUE(plan->turns_columns());
  EXPECT_EQ(plan->input_dtype(), DType::kI8);
}

TEST(StoredLinear, RowsTurnedOtherwiseThanTheWeightsAreRefused) {
  Context context = test::host_context();
  Int8Rows part(24, 64, 1, Rotation::convrot(64));
  const auto weights =
      make_linear(context, LinearKind::kS8, GemmEpilogue::kNone, {.parts = {part.linear}});
  ASSERT_TRUE(weights);
  std::vector<int8_t> q(64);
  std::vector<float> scale(1, 1.0f), y(static_cast<size_t>(weights->out_cols()));
  auto arena =
      Arena::with_capacity(linear_scratch_bytes(context, *weights, 1, DType::kF32)).value();
  context.scratch = &arena;
  Activation input = weights->input_at(q.data(), 1, scale.data());
  EXPECT_TRUE(linear(context, *weights, input, y.data(), DType::kF32, weights->out_cols()));
  for (const Rotation& other : {Rotation{}, Rotation::convrot(16)}) {
    input.rotation = other;
    const Status status =
        linear(context, *weights, input, y.data(), DType::kF32, weights->out_cols());
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().message,
              fmt::format("linear: the input's columns are turned in groups of {}, those of the "
                          "weights in groups of 64",
                          other.group));
  }
}

TEST(StoredLinear, PartsThatAreNoLinearsAreRefused) {
  const Context context = test::host_context();
  Int8Rows a(24, 64, 1, {}, true);
  const auto message = [&](const StoredLinear& part) {
    const auto weights =
        make_linear(context, LinearKind::kS8, GemmEpilogue::kNone, {.parts = {part}});
    return weights ? std::string() : weights.error().message;
  };
  EXPECT_EQ(message(a.linear), "");
  StoredLinear part = a.linear;
  part.scales.shape = {23};
  EXPECT_NE(message(part).find("F32 scales [n]"), std::string::npos);
  part = a.linear;
  part.rotation = Rotation::convrot(256);
  EXPECT_NE(message(part).find("64 columns"), std::string::npos);
  part = a.linear;
  part.smooth.shape = {63};
  EXPECT_NE(message(part).find("smoothing of weight 0 is F32 [63]"), std::string::npos);
}

// Products of ComfyUI's own code on files that it wrote, of rows in F32: of bf16 rows it rounds the
// quotients and the product to bf16 (tests/unit/io/formats/comfy_int8_test.cpp repeats that).
TEST(StoredLinear, AgreesWithTheProductsOfTheFilesPublisher) {
  int compared = 0;
  for (const CpuFeatures& cpu : test::tested_cpus()) {
    SCOPED_TRACE(cpu_isa_name(cpu.isa));
    Context context{.threads = 2, .cpu = cpu};
    for (const std::string folder :
         {"comfy_int8_tensorwise", "comfy_int8_rowwise", "comfy_int8_convrot16",
          "comfy_int8_convrot64", "comfy_int8_convrot256"}) {
      SCOPED_TRACE(folder);
      const auto weights = weights_at(folder + "/wide.safetensors");
      const auto expected = file_at(folder + "/expected.safetensors");
      for (const auto& [name, entry] : weights->linears()) {
        SCOPED_TRACE(name);
        const TensorEntry* const own = expected->find("wide/" + name + "/own");
        ASSERT_NE(own, nullptr);
        const auto loaded = weights->linear(name);
        ASSERT_TRUE(loaded) << loaded.error().message;
        LinearSource source{.parts = {loaded->linear}};
        const auto bias = weights->tensor(name + ".bias");
        if (bias) source.biases = {bias->view};
        const auto made = make_linear(context, LinearKind::kS8, GemmEpilogue::kNone, source);
        ASSERT_TRUE(made) << made.error().message;
        Rows x(3, entry.k, 1);
        x.floats = read_floats(*expected->find("x/" + std::to_string(entry.k))).value();
        const std::vector<float> y = read_floats(*own).value();
        EXPECT_LT(difference(run(context, *made, x, DType::kF32), {y.begin(), y.end()}), 1e-3);
        ++compared;
      }
    }
  }
  EXPECT_GE(compared, 15);
}

}  // namespace
}  // namespace intaglio
