// The attention kernels, run on the CPU (emulation/lanes.h) against loops in double: every compiled
// config, ragged numbers of tokens, groups of heads, causal and not, masked NaN, logits that decide
// alone, the same bits twice, copies that land late and at once.
#include <gtest/gtest.h>

#include "core/dtype.h"
#include "dynamic_shared.h"
#include "lanes.h"
// Kernels after the emulation, which defines what they are written in.
#include "ops/cuda/kernels/plain_attention.cuh"
#include "ops/cuda/kernels/sm80_attention.cuh"

namespace intaglio::cuda {

namespace {

using emulation::machine;

struct Shape {
  int tokens, heads, kv_heads, head_dim;
  bool causal;
};

enum class Kind { kF32, kBF16, kS8 };

// One problem: operands as the kernels take them, and the values they stand for.
struct Problem {
  Shape shape{};
  Kind kind = Kind::kF32;
  AttentionParams p{};
  std::vector<double> q, k, v;  // [tokens, heads or kv_heads, head_dim]
  std::vector<uint4> q_bytes, k_bytes, v_bytes, out_bytes;
  std::vector<float> q_scale, k_scale;

  bool float_out() const { return kind == Kind::kF32; }
  size_t out_elements() const { return static_cast<size_t>((shape.tokens + 1) * p.ldo); }
};

template <typename T>
T* storage(std::vector<uint4>& bytes, int64_t elements) {
  bytes.assign(static_cast<size_t>(elements) * sizeof(T) / 16 + 1, uint4{});
  std::memset(bytes.data(), 0xff, bytes.size() * 16);  // NaN and -1 between the rows
  return reinterpret_cast<T*>(bytes.data());
}

// Writes values to rows with a stride and rounds them to what was written.
template <typename T>
void write_rows(std::vector<double>& values, int rows, int width, T* to, int64_t ld) {
  for (int row = 0; row < rows; ++row) {
    for (int i = 0; i < width; ++i) {
      double& value = values[static_cast<size_t>(row) * width + i];
      const T rounded = T(static_cast<float>(value));
      to[row * ld + i] = rounded;
      value = static_cast<double>(static_cast<float>(rounded));
    }
  }
}

template <typename T>
void write_floats(Problem& z) {
  const int q_width = z.shape.heads * z.shape.head_dim,
            k_width = z.shape.kv_heads * z.shape.head_dim;
  z.p.ldq = q_width + 16;
  z.p.ldk = k_width + 32;
  auto* q = storage<T>(z.q_bytes, z.shape.tokens * z.p.ldq);
  auto* k = storage<T>(z.k_bytes, z.shape.tokens * z.p.ldk);
  write_rows(z.q, z.shape.tokens, q_width, q, z.p.ldq);
  write_rows(z.k, z.shape.tokens, k_width, k, z.p.ldk);
  z.p.q = q;
  z.p.k = k;
}

int8_t quantized(double value, double scale) {
  return static_cast<int8_t>(std::lround(std::clamp(value / scale, -127.0, 127.0)));
}

void write_s8(Problem& z) {
  const int tokens = z.shape.tokens, d = z.shape.head_dim;
  const auto at = [&](int token, int head, int heads) {
    return (static_cast<size_t>(token) * heads + head) * d;
  };
  auto* q = storage<int8_t>(z.q_bytes, int64_t{z.shape.heads} * tokens * d);
  auto* k = storage<int8_t>(z.k_bytes, int64_t{z.shape.kv_heads} * tokens * d);
  const int blocks = (tokens + kS8KeyBlock - 1) / kS8KeyBlock;
  const auto scale_of = [&](const std::vector<double>& x, int first, int end, int head, int heads) {
    double most = 1e-30;
    for (int token = first; token < end; ++token) {
      for (int i = 0; i < d; ++i) most = std::max(most, std::fabs(x[at(token, head, heads) + i]));
    }
    return static_cast<float>(most / 127.0);
  };
  const auto write = [&](std::vector<double>& x, int token, int head, int heads, float scale,
                         int8_t* to) {
    for (int i = 0; i < d; ++i) {
      double& value = x[at(token, head, heads) + i];
      to[(int64_t{head} * tokens + token) * d + i] = quantized(value, scale);
      value = to[(int64_t{head} * tokens + token) * d + i] * static_cast<double>(scale);
    }
  };
  for (int head = 0; head < z.shape.heads; ++head) {
    for (int token = 0; token < tokens; ++token) {
      z.q_scale.push_back(scale_of(z.q, token, token + 1, head, z.shape.heads));
      write(z.q, token, head, z.shape.heads, z.q_scale.back(), q);
    }
  }
  for (int head = 0; head < z.shape.kv_heads; ++head) {
    for (int block = 0; block < blocks; ++block) {
      const int first = block * kS8KeyBlock, end = std::min(tokens, first + kS8KeyBlock);
      z.k_scale.push_back(scale_of(z.k, first, end, head, z.shape.kv_heads));
      for (int token = first; token < end; ++token)
        write(z.k, token, head, z.shape.kv_heads, z.k_scale.back(), k);
    }
  }
  z.p.q = q;
  z.p.k = k;
  z.p.q_scale = z.q_scale.data();
  z.p.k_scale = z.k_scale.data();
}

// `size` of q and k: large ones make few keys decide.
Problem make_problem(Kind kind, const Shape& shape, double size, uint32_t seed) {
  Problem z;
  z.shape = shape;
  z.kind = kind;
  std::mt19937 random(seed);
  std::normal_distribution<double> normal;
  const auto fill = [&](std::vector<double>& x, int heads, double scale) {
    x.resize(static_cast<size_t>(shape.tokens) * heads * shape.head_dim);
    for (double& value : x) value = scale * normal(random);
  };
  fill(z.q, shape.heads, size);
  fill(z.k, shape.kv_heads, size);
  fill(z.v, shape.kv_heads, 1.0);
  z.p.tokens = shape.tokens;
  z.p.heads = shape.heads;
  z.p.kv_heads = shape.kv_heads;
  z.p.head_dim = shape.head_dim;
  z.p.causal = shape.causal;
  if (kind == Kind::kS8) write_s8(z);
  if (kind == Kind::kBF16) write_floats<BFloat16>(z);
  if (kind == Kind::kF32) write_floats<float>(z);
  const int k_width = shape.kv_heads * shape.head_dim;
  z.p.ldv = k_width + 8;
  z.p.ldo = shape.heads * shape.head_dim + 8;
  if (kind == Kind::kF32) {
    auto* v = storage<float>(z.v_bytes, shape.tokens * z.p.ldv);
    write_rows(z.v, shape.tokens, k_width, v, z.p.ldv);
    z.p.v = v;
    z.p.out = storage<float>(z.out_bytes, (shape.tokens + 1) * z.p.ldo);
  } else {
    auto* v = storage<BFloat16>(z.v_bytes, shape.tokens * z.p.ldv);
    write_rows(z.v, shape.tokens, k_width, v, z.p.ldv);
    z.p.v = v;
    z.p.out = storage<BFloat16>(z.out_bytes, (shape.tokens + 1) * z.p.ldo);
  }
  return z;
}

// [tokens, heads, head_dim]
std::vector<double> expected(const Problem& z) {
  const Shape& s = z.shape;
  const int d = s.head_dim;
  std::vector<double> out(static_cast<size_t>(s.tokens) * s.heads * d, 0.0), p(s.tokens);
  for (int t = 0; t < s.tokens; ++t) {
    for (int h = 0; h < s.heads; ++h) {
      const int kv = h / (s.heads / s.kv_heads), keys = s.causal ? t + 1 : s.tokens;
      double most = -1e300, total = 0.0;
      for (int key = 0; key < keys; ++key) {
        double dot = 0.0;
        for (int i = 0; i < d; ++i) {
          dot += z.q[(static_cast<size_t>(t) * s.heads + h) * d + i] *
                 z.k[(static_cast<size_t>(key) * s.kv_heads + kv) * d + i];
        }
        p[key] = dot / std::sqrt(d);
        most = std::fmax(most, p[key]);
      }
      double* row = &out[(static_cast<size_t>(t) * s.heads + h) * d];
      for (int key = 0; key < keys; ++key) {
        const double weight = std::exp(p[key] - most);
        total += weight;
        for (int i = 0; i < d; ++i)
          row[i] += weight * z.v[(static_cast<size_t>(key) * s.kv_heads + kv) * d + i];
      }
      for (int i = 0; i < d; ++i) row[i] /= total;
    }
  }
  return out;
}

double output(const Problem& z, int64_t index) {
  if (z.float_out()) return static_cast<const float*>(z.p.out)[index];
  return static_cast<double>(static_cast<float>(static_cast<const BFloat16*>(z.p.out)[index]));
}

// Relative distance of the whole output; what lies outside must be untouched.
void expect_right(const Problem& z, const std::vector<double>& want, const char* name) {
  const int width = z.shape.heads * z.shape.head_dim;
  double distance = 0.0, length = 0.0;
  for (int t = 0; t < z.shape.tokens; ++t) {
    for (int i = 0; i < width; ++i) {
      const double w = want[static_cast<size_t>(t) * width + i], got = output(z, t * z.p.ldo + i);
      if (std::isnan(w)) {
        EXPECT_TRUE(std::isnan(got)) << name << " token " << t << " column " << i;
        continue;
      }
      distance += (got - w) * (got - w);
      length += w * w;
    }
  }
  const double error = std::sqrt(distance / length);
  EXPECT_TRUE(error < (z.float_out() ? 1e-6 : 6e-3))
      << name << ": " << error << " tokens=" << z.shape.tokens << " heads=" << z.shape.heads << "/"
      << z.shape.kv_heads << " d=" << z.shape.head_dim << " causal=" << z.shape.causal;
  const int element = z.float_out() ? 4 : 2;
  const auto* bytes = reinterpret_cast<const uint8_t*>(z.p.out);
  int64_t touched = 0;
  for (int64_t row = 0; row <= z.shape.tokens; ++row) {
    const int64_t first = row < z.shape.tokens ? width : 0;
    for (int64_t i = (row * z.p.ldo + first) * element; i < (row + 1) * z.p.ldo * element; ++i)
      touched += bytes[i] != 0xff ? 1 : 0;
  }
  EXPECT_EQ(touched, 0) << name;
  EXPECT_EQ(machine.fault, nullptr) << name;
}

void run_grid(int blocks, int threads, std::function<void()> kernel) {
  std::memset(smem, 0x7f, sizeof(smem));  // NaN as bf16
  machine.fault = nullptr;
  machine.grid = {static_cast<unsigned>(blocks), 1, 1};
  machine.kernel = std::move(kernel);
  for (int block = 0; block < blocks; ++block) {
    machine.block = {static_cast<unsigned>(block), 0, 0};
    emulation::run_block(threads);
  }
}

template <class C>
void run_sm80(const Problem& z, int head_group) {
  const Sm80AttentionArgs args = sm80_attention_args<C>(z.p, head_group);
  run_grid(args.tiles_q * z.shape.heads, C::kThreads, [&] { sm80_attention_kernel<C>(args); });
}

template <class C>
constexpr Kind kKind = C::Scores::kScaled ? Kind::kS8 : Kind::kBF16;

template <class C>
class Sm80AttentionTest : public testing::Test {};
template <class... A, class... B>
testing::Types<A..., B...> as_test_types(std::tuple<A...>, std::tuple<B...>);
using Configs = decltype(as_test_types(Sm80S8AttentionConfigs{}, Sm80BF16AttentionConfigs{}));
TYPED_TEST_SUITE(Sm80AttentionTest, Configs);

TYPED_TEST(Sm80AttentionTest, AgreesWithPlainLoops) {
  using C = TypeParam;
  const int d = C::kHeadDim;
  const Shape shapes[] = {{1, 1, 1, d, false},  {7, 2, 1, d, true},    {33, 1, 1, d, false},
                          {64, 2, 2, d, true},  {129, 2, 1, d, true},  {130, 1, 1, d, false},
                          {257, 3, 1, d, true}, {200, 2, 2, d, false}, {70, 6, 2, d, false}};
  uint32_t seed = 1;
  for (const Shape& shape : shapes) {
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
  for (int i = 0; i < d; ++i) EXPECT_EQ(output(z, 3 * z.p.ldo + i), z.v[size_t{140} * d + i]);
}

TYPED_TEST(Sm80AttentionTest, ShowsNaNWhereItIsSeen) {
  using C = TypeParam;
  const int d = C::kHeadDim, tokens = 140, bad = 100;
  Problem z = make_problem(kKind<C>, {tokens, 1, 1, d, true}, 1.0, 6);
  const std::vector<double> sound = expected(z);
  if (C::Scores::kScaled) {
    z.k_scale[bad / kS8KeyBlock] = std::nanf("");
  } else {
    auto* k = reinterpret_cast<BFloat16*>(z.k_bytes.data());
    k[bad * z.p.ldk + 3] = BFloat16(std::nanf(""));
  }
  run_sm80<C>(z, 1);
  EXPECT_EQ(machine.fault, nullptr);
  const int first = C::Scores::kScaled ? bad / kS8KeyBlock * kS8KeyBlock : bad;
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
  Problem z = make_problem(kKind<C>, {tokens, 1, 1, d, true}, 0.0, 7);
  run_sm80<C>(z, 1);
  expect_right(z, expected(z), "zero q and k");
}

TYPED_TEST(Sm80AttentionTest, SameBitsTwice) {
  using C = TypeParam;
  const Problem z = make_problem(kKind<C>, {150, 1, 1, C::kHeadDim, true}, 1.0, 8);
  run_sm80<C>(z, 1);
  const std::vector<uint4> first = z.out_bytes;
  machine.late_copies = !machine.late_copies;
  run_sm80<C>(z, 1);
  EXPECT_EQ(std::memcmp(first.data(), z.out_bytes.data(), first.size() * 16), 0);
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
