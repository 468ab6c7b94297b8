// plain_attention, run on the CPU (emulation/lanes.h) against loops in double: heads of every size,
// ragged numbers of tokens, fewer keys than tokens, masked NaN.
#include "emulated_attention.h"
// Kernels after the emulation, which defines what they are written in.
#include "ops/cuda/kernels/plain_attention.cuh"

namespace intaglio::cuda {
namespace {

template <class Elements, int kPieces>
void run_plain(const Problem& z) {
  PlainAttentionArgs args{};
  args.p = z.p;
  args.keys = z.p.keys == 0 ? z.p.tokens : z.p.keys;
  args.scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(z.shape.head_dim)));
  constexpr int kTileQ = kPlainWarps * plain_rows(kPieces);
  args.tiles_q = (z.shape.tokens + kTileQ - 1) / kTileQ;
  run_grid(args.tiles_q * z.shape.heads, 32 * kPlainWarps,
           [&] { plain_attention_kernel<Elements, kPieces>(args); });
}

TEST(PlainAttentionTest, AgreesWithPlainLoops) {
  uint32_t seed = 1;
  for (const Shape& shape :
       {Shape{1, 1, 1, 4, false}, Shape{19, 2, 1, 72, true}, Shape{34, 1, 1, 128, false},
        Shape{21, 2, 2, 200, true}, Shape{17, 1, 1, 256, false}, Shape{18, 1, 1, 512, true}}) {
    for (const Kind kind : {Kind::kF32, Kind::kBF16}) {
      const Problem z = make_problem(kind, shape, 1.0, seed++);
      const int pieces = shape.head_dim <= 128 ? 1 : shape.head_dim <= 256 ? 2 : 4;
      if (kind == Kind::kF32) {
        pieces == 1   ? run_plain<F32Elements, 1>(z)
        : pieces == 2 ? run_plain<F32Elements, 2>(z)
                      : run_plain<F32Elements, 4>(z);
      } else {
        pieces == 1   ? run_plain<BF16Elements, 1>(z)
        : pieces == 2 ? run_plain<BF16Elements, 2>(z)
                      : run_plain<BF16Elements, 4>(z);
      }
      expect_right(z, expected(z), "plain_attention");
    }
  }
}

// Heads of no whole fours, and beyond what the fast reads hold.
TEST(PlainAttentionTest, AnyHeadSizeIsRight) {
  uint32_t seed = 40;
  for (const Shape& shape :
       {Shape{5, 1, 1, 2, false}, Shape{19, 2, 1, 6, true}, Shape{21, 3, 1, 126, false},
        Shape{18, 1, 1, 130, true}, Shape{9, 1, 1, 510, true}, Shape{7, 2, 2, 514, false},
        Shape{6, 1, 1, 1024, true}}) {
    SCOPED_TRACE(shape.head_dim);
    for (const Kind kind : {Kind::kF32, Kind::kBF16}) {
      const Problem z = make_problem(kind, shape, 1.0, seed++);
      const int pieces = shape.head_dim <= 128 ? 1 : shape.head_dim <= 512 ? 4 : 8;
      if (kind == Kind::kF32) {
        pieces == 1   ? run_plain<AnyF32Elements, 1>(z)
        : pieces == 4 ? run_plain<AnyF32Elements, 4>(z)
                      : run_plain<AnyF32Elements, 8>(z);
      } else {
        pieces == 1   ? run_plain<AnyBF16Elements, 1>(z)
        : pieces == 4 ? run_plain<AnyBF16Elements, 4>(z)
                      : run_plain<AnyBF16Elements, 8>(z);
      }
      expect_right(z, expected(z), "plain_attention");
    }
  }
}

// The first of them are all that the tokens ask: as with a NaN in the others, which shows nowhere.
TEST(PlainAttentionTest, FewerKeysThanTokens) {
  for (const int keys : {1, 4, 7, 19}) {
    const int heads = 2, head_dim = 64;
    Problem few = make_problem(Kind::kF32, {keys, heads, 1, head_dim, false}, 1.0, 9);
    Problem z = make_problem(Kind::kF32, {20, heads, 1, head_dim, false}, 1.0, 9);
    z.p.keys = keys;
    for (int t = 0; t < 20; ++t) {
      const auto take = [&](std::vector<uint4>& to, const std::vector<uint4>& from, int64_t ld_to,
                            int64_t ld_from, int columns) {
        for (int i = 0; i < columns; ++i)
          reinterpret_cast<float*>(to.data())[t * ld_to + i] =
              t < keys ? reinterpret_cast<const float*>(from.data())[t * ld_from + i]
                       : std::nanf("");
      };
      take(z.k_bytes, few.k_bytes, z.p.ldk, few.p.ldk, head_dim);
      take(z.v_bytes, few.v_bytes, z.p.ldv, few.p.ldv, head_dim);
    }
    for (int t = 0; t < keys; ++t) {
      for (int i = 0; i < heads * head_dim; ++i)
        reinterpret_cast<float*>(z.q_bytes.data())[t * z.p.ldq + i] =
            reinterpret_cast<const float*>(few.q_bytes.data())[t * few.p.ldq + i];
    }
    run_plain<F32Elements, 1>(few);
    run_plain<F32Elements, 1>(z);
    for (int t = 0; t < 20; ++t) {
      for (int i = 0; i < heads * head_dim; ++i) {
        const double y = output(z, t * z.p.ldo + i);
        ASSERT_TRUE(std::isfinite(y)) << t;
        ASSERT_EQ(y, t < keys ? output(few, t * few.p.ldo + i) : y) << t;
      }
    }
  }
}

TEST(PlainAttentionTest, MaskedNaNShowsNowhere) {
  Problem z = make_problem(Kind::kF32, {20, 1, 1, 64, true}, 1.0, 9);
  const std::vector<double> sound = expected(z);
  reinterpret_cast<float*>(z.k_bytes.data())[10 * z.p.ldk] = std::nanf("");
  reinterpret_cast<float*>(z.v_bytes.data())[10 * z.p.ldv] = std::nanf("");
  run_plain<F32Elements, 1>(z);
  for (int t = 0; t < 20; ++t) {
    if (t >= 10) {
      EXPECT_TRUE(std::isnan(output(z, t * z.p.ldo)));
    } else {
      EXPECT_NEAR(output(z, t * z.p.ldo), sound[static_cast<size_t>(t) * 64], 1e-5);
    }
  }
}

}  // namespace
}  // namespace intaglio::cuda
