// The attention kernels by mma.sync, run on the CPU (emulation/lanes.h) against loops in double:
// every compiled config, ragged numbers of tokens, groups of heads, causal and not, logits that
// decide alone, the same bits twice, copies that land late and at once.
#include "emulated_attention.h"
// Kernels after the emulation, which defines what they are written in.
#include "ops/cuda/kernels/sm80_attention.cuh"

namespace intaglio::cuda {
namespace {

template <class C>
void run_sm80(const Problem& z, int head_group) {
  const Sm80AttentionArgs args = sm80_attention_args<C>(z.p, head_group);
  run_grid(args.tiles_q * z.shape.heads, C::kThreads, [&] { sm80_attention_kernel<C>(args); });
}

template <class C>
constexpr Kind kKind = C::Values::kScaled   ? Kind::kS8Values
                       : C::Scores::kScaled ? Kind::kS8
                                            : Kind::kBF16;

template <class C>
class Sm80AttentionTest : public testing::Test {};
template <class... A>
testing::Types<A...> as_test_types(std::tuple<A...>);
using Configs = decltype(as_test_types(std::tuple_cat(
    Sm80S8AttentionConfigs{}, Sm80S8ValuesAttentionConfigs{}, Sm80BF16AttentionConfigs{})));
TYPED_TEST_SUITE(Sm80AttentionTest, Configs);

TYPED_TEST(Sm80AttentionTest, AgreesWithPlainLoops) {
  using C = TypeParam;
  const int d = C::kHeadDim;
  const Shape shapes[] = {{1, 1, 1, d, false},  {7, 2, 1, d, true},    {33, 1, 1, d, false},
                          {64, 2, 2, d, true},  {129, 2, 1, d, true},  {130, 1, 1, d, false},
                          {257, 3, 1, d, true}, {200, 2, 2, d, false}, {70, 6, 2, d, false}};
  uint32_t seed = 1;
  for (Shape shape : shapes) {
    if (C::Values::kScaled) shape.causal = false;
    const Problem z = make_problem(kKind<C>, shape, seed % 3 == 0 ? 3.0 : 1.0, seed);
    machine.late_copies = seed % 2 == 0;
    run_sm80<C>(z, 1 + static_cast<int>(seed % 2));
    expect_right(z, expected(z), "sm80_attention");
    ++seed;
  }
}

// Logits that rise from key to key, so that the reference is raised again and again; and a single
// key that takes all weight.
TYPED_TEST(Sm80AttentionTest, RaisesItsReference) {
  using C = TypeParam;
  const int d = C::kHeadDim, tokens = 150;
  Problem z = make_problem(kKind<C>, {tokens, 1, 1, d, false}, 1.0, 5);
  for (int t = 0; t < tokens; ++t) {
    for (int i = 0; i < d; ++i) {
      z.q[static_cast<size_t>(t) * d + i] = 2.0 + t % 3;
      z.k[static_cast<size_t>(t) * d + i] = t == 140 ? 30.0 : t / 20 * 1.0 - 3.0;
    }
  }
  z.q_scale.clear();
  z.k_scale.clear();
  if (C::Scores::kScaled) {
    write_s8(z);
  } else {
    write_floats<BFloat16>(z);
  }
  run_sm80<C>(z, 1);
  expect_right(z, expected(z), "rising logits");
  // Exactly, but for the float roundings between an int8 value and its mean.
  const double tolerance = C::Values::kScaled ? 0x1p-8 : 0.0;
  for (int i = 0; i < d; ++i) {
    const double alone = z.v[size_t{140} * d + i];
    EXPECT_NEAR(output(z, 3 * z.p.ldo + i), alone, tolerance * (std::fabs(alone) + 1e-4));
  }
}

TYPED_TEST(Sm80AttentionTest, ShowsNaNWhereItIsSeen) {
  using C = TypeParam;
  const int d = C::kHeadDim, tokens = 140, bad = 100;
  const bool causal = !C::Values::kScaled;
  Problem z = make_problem(kKind<C>, {tokens, 1, 1, d, causal}, 1.0, 6);
  const std::vector<double> sound = expected(z);
  if (C::Scores::kScaled) {
    z.k_scale[bad / kS8KeyBlock] = std::nanf("");
  } else {
    auto* k = reinterpret_cast<BFloat16*>(z.k_bytes.data());
    k[bad * z.p.ldk + 3] = BFloat16(std::nanf(""));
  }
  run_sm80<C>(z, 1);
  EXPECT_EQ(machine.fault, nullptr);
  const int first = !causal ? 0 : C::Scores::kScaled ? bad / kS8KeyBlock * kS8KeyBlock : bad;
  for (int t = 0; t < tokens; ++t) {
    for (int i = 0; i < d; ++i) {
      const double got = output(z, t * z.p.ldo + i);
      if (t >= first) {
        ASSERT_TRUE(std::isnan(got)) << t;
      } else {
        ASSERT_NEAR(got, sound[static_cast<size_t>(t) * d + i], 0.05) << t;
      }
    }
  }
}

TYPED_TEST(Sm80AttentionTest, ZeroRowsAverage) {
  using C = TypeParam;
  const int d = C::kHeadDim, tokens = 40;
  Problem z = make_problem(kKind<C>, {tokens, 1, 1, d, !C::Values::kScaled}, 0.0, 7);
  run_sm80<C>(z, 1);
  expect_right(z, expected(z), "zero q and k");
}

TYPED_TEST(Sm80AttentionTest, SameBitsTwice) {
  using C = TypeParam;
  const Problem z = make_problem(kKind<C>, {150, 1, 1, C::kHeadDim, !C::Values::kScaled}, 1.0, 8);
  run_sm80<C>(z, 1);
  const std::vector<uint4> first = z.out_bytes;
  machine.late_copies = !machine.late_copies;
  run_sm80<C>(z, 1);
  EXPECT_EQ(std::memcmp(first.data(), z.out_bytes.data(), first.size() * 16), 0);
}

// A channel whose scale is NaN, as that of a v with a NaN is, is NaN for every token, no other.
TEST(Sm80S8ValuesAttentionTest, ChannelOfNaN) {
  using C = std::tuple_element_t<0, Sm80S8ValuesAttentionConfigs>;
  const int d = C::kHeadDim, tokens = 40, bad = 11;
  Problem z = make_problem(Kind::kS8Values, {tokens, 1, 1, d, false}, 1.0, 12);
  z.v_scale[bad] = std::nanf("");
  run_sm80<C>(z, 1);
  for (int t = 0; t < tokens; ++t)
    for (int i = 0; i < d; ++i) ASSERT_EQ(std::isnan(output(z, t * z.p.ldo + i)), i == bad) << t;
}

// Keys that matter little one by one and much together, beside one that matters most: with one
// reference for all keys their weights, 1 of 1000, would be rounded to 0 of 255.
TEST(Sm80S8ValuesAttentionTest, SmallWeightsBesideALargeOne) {
  using C = std::tuple_element_t<0, Sm80S8ValuesAttentionConfigs>;
  const int d = C::kHeadDim, tokens = 320;
  Problem z = make_problem(Kind::kS8Values, {tokens, 1, 1, d, false}, 1.0, 13);
  for (int t = 0; t < tokens; ++t) {
    for (int i = 0; i < d; ++i) {
      z.q[static_cast<size_t>(t) * d + i] = i == 0 ? std::sqrt(double{C::kHeadDim}) : 0.0;
      z.k[static_cast<size_t>(t) * d + i] = i == 0 && t == 5 ? std::log(1000.0) : 0.0;
    }
  }
  z.q_scale.clear();
  z.k_scale.clear();
  write_s8(z);
  run_sm80<C>(z, 1);
  const double large = 1000.0 / (1000.0 + tokens - 1), small = 1.0 / (1000.0 + tokens - 1);
  for (int i = 0; i < d; ++i) {
    // The first group has a step of a 255th of `large`, which takes its small ones away.
    const double mean = z.v_mean[static_cast<size_t>(i)];
    double want = mean;
    for (int t = 0; t < tokens; ++t) {
      const double weight = t == 5 ? large : t < kS8ValueKeys ? 0.0 : small;
      want += weight * (z.v[static_cast<size_t>(t) * d + i] - mean);
    }
    ASSERT_NEAR(output(z, 7 * z.p.ldo + i), want, 6e-3 * (1.0 + std::fabs(want))) << i;
  }
}

TEST(Sm80AttentionBlockTest, EveryBlockOnceAndLongestFirst) {
  for (const bool causal : {false, true}) {
    for (const int group : {1, 2, 5, 7}) {
      const int heads = 7, tiles = 3;
      std::vector<int> seen(heads * tiles, 0);
      int tile_before = tiles;
      for (int i = 0; i < heads * tiles; ++i) {
        const AttentionBlock block = attention_block(i, heads, tiles, group, causal);
        ++seen[block.head * tiles + block.tile];
        if (causal && group == heads) {
          EXPECT_LE(block.tile, tile_before);
          tile_before = block.tile;
        }
      }
      for (const int count : seen) EXPECT_EQ(count, 1);
    }
  }
}

}  // namespace
}  // namespace intaglio::cuda
