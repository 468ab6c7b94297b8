// The kernels of int8 values, run on the CPU (emulation/lanes.h), against the reference bit for
// bit: ragged tokens and heads, both types, zeros, damage.
#include "row_emulation.h"
// Kernels after the emulation, which defines what they are written in.
#include "ops/cuda/kernels/s8_values.cuh"
#include "ops/s8_values_implementations.h"

namespace intaglio::cuda {
namespace {

struct Shape {
  int tokens, heads, head_dim, gap;
};

class S8ValuesKernel : public testing::Test {
 protected:
  // `change(x, s, channel)`: what becomes of a normal value.
  template <typename T, class Type, typename Change>
  void check(const Shape& shape, Change&& change) {
    SCOPED_TRACE(testing::Message()
                 << shape.tokens << " tokens, " << shape.heads << " x " << shape.head_dim);
    const int64_t channels = int64_t{shape.heads} * shape.head_dim, ldv = channels + shape.gap;
    const int64_t bytes = channels * s8_value_groups(shape.tokens) * kS8ValueKeys;
    Memory<T> v(shape.tokens * ldv);
    Memory<int8_t> values(bytes), expected_values(bytes);
    Memory<float> scale(channels), expected_scale(channels), mean(channels),
        expected_mean(channels), workspace(3 * channels * s8_value_chunks(shape.tokens));
    for (int64_t s = 0; s < shape.tokens; ++s)
      for (int64_t c = 0; c < channels; ++c)
        v[s * ldv + c] = T(static_cast<float>(change(normal_value(random_), s, c)));
    const S8ValuesParams p{.v = v.data(),
                           .ldv = ldv,
                           .values = values.data(),
                           .scale = scale.data(),
                           .mean = mean.data(),
                           .workspace = workspace.data(),
                           .tokens = shape.tokens,
                           .kv_heads = shape.heads,
                           .head_dim = shape.head_dim};
    run_grid(
        s8_value_chunks(shape.tokens), kS8ValuesThreads, [=] { s8_value_sums<Type>(p); },
        shape.heads);
    run_grid((shape.head_dim - 1) / kS8ValuesThreads + 1, kS8ValuesThreads,
             [=] { s8_value_scales(p); }, shape.heads);
    run_grid(
        s8_value_groups(shape.tokens), kS8ValuesThreads, [=] { s8_value_quantize<Type>(p); },
        shape.heads);
    ASSERT_TRUE(ref::quantize_values(
        {}, {.v = v.data(),
             .ldv = ldv,
             .tokens = shape.tokens,
             .kv_heads = shape.heads,
             .head_dim = shape.head_dim,
             .dtype = sizeof(T) == 4 ? DType::kF32 : DType::kBF16,
             .out = {expected_values.data(), expected_scale.data(), expected_mean.data()}}));
    EXPECT_EQ(std::memcmp(values.data(), expected_values.data(), static_cast<size_t>(bytes)), 0);
    for (int64_t c = 0; c < channels; ++c) {
      ASSERT_TRUE(same(scale[c], expected_scale[c])) << c << ": " << scale[c];
      ASSERT_TRUE(same(mean[c], expected_mean[c])) << c << ": " << mean[c];
    }
    EXPECT_TRUE(values.guards_are_whole() && scale.guards_are_whole() && mean.guards_are_whole() &&
                workspace.guards_are_whole());
  }

  // To the bit, or both NaN.
  static bool same(float a, float b) { return a == b || (std::isnan(a) && std::isnan(b)); }

  std::mt19937 random_{3};
};

constexpr Shape kShapes[] = {{1, 1, 64, 0},   {31, 2, 64, 8},   {32, 1, 128, 0}, {33, 3, 40, 1},
                             {128, 1, 64, 0}, {129, 1, 256, 4}, {300, 2, 72, 0}, {70, 1, 300, 0}};

TEST_F(S8ValuesKernel, AgreesWithTheReference) {
  const auto shifted = [](float x, int64_t, int64_t c) {
    return x * (c % 7 == 0 ? 20.0f : 1.0f) + static_cast<float>(c % 5) - 2.0f;
  };
  for (const Shape& shape : kShapes) {
    check<BFloat16, BF16>(shape, shifted);
    check<float, F32>(shape, shifted);
  }
}

TEST_F(S8ValuesKernel, ZerosConstantsAndDamage) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float infinite = std::numeric_limits<float>::infinity();
  const auto odd = [=](float x, int64_t s, int64_t c) {
    if (c % 6 == 0) return 0.0f;
    if (c % 6 == 1) return 3.25f;
    if (c % 6 == 2) return s == 17 ? nan : x;
    if (c % 6 == 3) return s == 40 ? -infinite : x;
    if (c % 6 == 4) return s == 0 ? infinite : s == 1 ? -infinite : x;
    return 1e-38f * x;
  };
  check<BFloat16, BF16>({50, 2, 64, 0}, odd);
  check<float, F32>({50, 2, 64, 0}, odd);
}

}  // namespace
}  // namespace intaglio::cuda
