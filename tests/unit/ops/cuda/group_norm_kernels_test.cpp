// Group norm, run on the CPU (emulation/lanes.h) against the formula in float64: channel counts of
// every shape, ragged pictures, several blocks, far means, NaN, in place.
#include "row_emulation.h"
// Kernels after the emulation, which defines what they are written in.
#include "ops/cuda/kernels/group_norm.cuh"

namespace intaglio::cuda {
namespace {

struct Case {
  int pixels = 1, channels = 8, groups = 1, blocks = 1;
  bool silu = false, any = false, in_place = false;
  float mean = 0.0f;
  int nan_channel = -1;
};

template <class Type>
void run_kernels(const GroupNormArgs& a, bool any) {
  const GroupNormParams& p = a.p;
  if (any) {
    run_grid(
        a.blocks, kGroupNormThreads, [=] { group_norm_sums_any<Type>(a); }, p.groups);
  } else {
    run_grid(a.blocks, kGroupNormThreads, [=] { group_norm_sums<Type>(a); });
  }
  run_grid(p.groups, kGroupNormFinishThreads, [=] { group_norm_finish(a); });
  if (any) {
    run_grid(3, kGroupNormThreads, [=] { group_norm_apply_any<Type>(a); });
    return;
  }
  const int rows = kGroupNormThreads / (p.channels / ChannelPiece<Type>::kElements);
  const int64_t of_block = int64_t{rows} * kGroupNormUnroll * kGroupNormApplyRounds;
  run_grid((p.pixels + of_block - 1) / of_block, kGroupNormThreads,
           [=] { p.silu ? group_norm_apply<Type, true>(a) : group_norm_apply<Type, false>(a); });
}

class GroupNorm : public testing::Test {
 protected:
  template <typename T>
  void check(const Case& c) {
    SCOPED_TRACE(testing::Message() << c.pixels << " pixels, " << c.channels << " channels, "
                                    << c.groups << " groups, " << sizeof(T) << " bytes");
    const int64_t count = int64_t{c.pixels} * c.channels;
    const int size = c.channels / c.groups;
    Memory<T> x(count), out(count);
    Memory<float> weight(c.channels), bias(c.channels);
    Memory<double> workspace(int64_t{c.blocks} * c.groups * 2 + c.channels);
    for (int64_t i = 0; i < c.channels; ++i) {
      weight[i] = 1.0f + 0.3f * normal_value(random_);
      bias[i] = 0.3f * normal_value(random_);
    }
    for (int64_t i = 0; i < count; ++i) {
      // Another spread in each group.
      const float spread = 0.5f + static_cast<float>(i % c.channels / size % 3);
      x[i] = T(c.mean + spread * normal_value(random_));
      if (i % c.channels == c.nan_channel && i / c.channels == c.pixels / 2)
        x[i] = T(std::nanf(""));
    }
    const std::vector<T> before(x.data(), x.data() + count);
    GroupNormArgs a{};
    a.p.x = x.data();
    a.p.y = c.in_place ? x.data() : out.data();
    a.p.weight = weight.data();
    a.p.bias = bias.data();
    a.p.pixels = c.pixels;
    a.p.channels = c.channels;
    a.p.groups = c.groups;
    a.p.eps = 1e-6f;
    a.p.silu = c.silu;
    a.p.workspace = workspace.data();
    a.blocks = c.blocks;
    a.pixels_of_block = (c.pixels + c.blocks - 1) / c.blocks;
    run_kernels<std::conditional_t<sizeof(T) == 4, F32, BF16>>(a, c.any);

    const T* const y = static_cast<const T*>(a.p.y);
    for (int group = 0; group < c.groups; ++group) {
      double sum = 0.0, squares = 0.0;
      const auto each = [&](auto&& visit) {
        for (int64_t p = 0; p < c.pixels; ++p)
          for (int64_t ch = int64_t{group} * size; ch < int64_t{group + 1} * size; ++ch)
            visit(p * c.channels + ch, ch);
      };
      const double n = static_cast<double>(c.pixels) * size;
      each([&](int64_t i, int64_t) { sum += double{as_float(before[static_cast<size_t>(i)])}; });
      const double mean = sum / n;
      each([&](int64_t i, int64_t) {
        const double d = double{as_float(before[static_cast<size_t>(i)])} - mean;
        squares += d * d;
      });
      const double inverse = 1.0 / std::sqrt(squares / n + 1e-6);
      each([&](int64_t i, int64_t ch) {
        const double d = double{as_float(before[static_cast<size_t>(i)])} - mean;
        const double v = d * inverse * double{weight[ch]} + double{bias[ch]};
        const double expected = c.silu ? v / (1.0 + std::exp(-v)) : v;
        // The mean is rounded to float.
        const double floor = 1.0 + std::fabs(mean) * inverse;
        ASSERT_TRUE(is_near(as_float(y[i]), expected, sizeof(T) == 4 ? 40 : 33000,
                            sizeof(T) == 4 ? floor : 0.02))
            << i << ": " << as_float(y[i]) << " for " << expected;
      });
    }
    EXPECT_TRUE(x.guards_are_whole() && out.guards_are_whole());
    EXPECT_TRUE(workspace.guards_are_whole());
  }

  void check_both(const Case& c) {
    check<BFloat16>(c);
    check<float>(c);
  }

  std::mt19937 random_{9};
};

TEST_F(GroupNorm, ChannelsOfEveryShape) {
  for (const auto& [channels, groups] : {std::pair{128, 32},
                                         {256, 32},
                                         {512, 32},
                                         {384, 32},
                                         {96, 32},
                                         {8, 1},
                                         {8, 8},
                                         {24, 2},
                                         {1024, 1024},
                                         {1024, 4}}) {
    check_both({.pixels = 67,
                .channels = channels,
                .groups = groups,
                .blocks = 2,
                .silu = channels % 256 == 0});
  }
}

TEST_F(GroupNorm, PicturesOfEverySize) {
  for (int pixels : {1, 15, 17, 300, 1025}) {
    check_both({.pixels = pixels, .channels = 128, .groups = 4, .blocks = 1, .silu = true});
    // Blocks without a pixel too.
    check_both({.pixels = pixels, .channels = 256, .groups = 4, .blocks = 7});
    check_both({.pixels = pixels, .channels = 128, .groups = 4, .blocks = 3, .in_place = true});
  }
}

TEST_F(GroupNorm, AMeanFarFromZeroKeepsItsVariance) {
  check<float>({.pixels = 500, .channels = 128, .groups = 32, .blocks = 3, .mean = 1000.0f});
  check<float>(
      {.pixels = 500, .channels = 12, .groups = 3, .blocks = 3, .any = true, .mean = 1000.0f});
}

TEST_F(GroupNorm, ANanStaysInItsGroup) {
  check_both(
      {.pixels = 40, .channels = 64, .groups = 8, .blocks = 2, .silu = true, .nan_channel = 13});
  check_both(
      {.pixels = 40, .channels = 6, .groups = 2, .blocks = 2, .any = true, .nan_channel = 1});
}

TEST_F(GroupNorm, AnyChannels) {
  for (const auto& [channels, groups] : {std::pair{1, 1}, {3, 3}, {6, 2}, {10, 1}, {130, 13}})
    for (bool silu : {false, true})
      check_both({.pixels = 77,
                  .channels = channels,
                  .groups = groups,
                  .blocks = 4,
                  .silu = silu,
                  .any = true});
}

}  // namespace
}  // namespace intaglio::cuda
