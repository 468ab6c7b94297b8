// Norm and rotation of q and k, run on the CPU (emulation/lanes.h) against the formulas in float64:
// every head dimension's path, in place and to int8, ragged numbers of tokens and heads, strides,
// odd heads. The numbers of k are compared bit for bit with the rule applied to the kernel's own k
// and mean.
#include "emulated_qk_norm_rope.h"
#include "ops/cpu/quantize_kernels.h"

namespace intaglio::cuda {
namespace {

struct Case {
  int tokens = 1, heads = 1, kv_heads = 1, head_dim = 64;
  int64_t gap = 0;  // between the heads of two tokens
  bool int8 = false;
  bool slow = false;
  bool odd = false;  // zeros, a NaN, an Inf and large values
  bool adjacent = false;
  bool q_weight = true, k_weight = true, rope = true;
};

class QkNormRope : public testing::Test {
 protected:
  template <typename T>
  void check(const Case& c) {
    SCOPED_TRACE(testing::Message()
                 << c.tokens << " tokens, " << c.heads << "/" << c.kv_heads << " heads of "
                 << c.head_dim << (c.int8 ? ", int8" : "") << (c.adjacent ? ", adjacent" : ""));
    const int64_t d = c.head_dim, half = d / 2;
    const int64_t ld = (c.heads + c.kv_heads) * d + c.gap;  // q, then k, in one buffer
    const int64_t blocks = (c.tokens + kS8KeyBlock - 1) / kS8KeyBlock;
    Memory<T> x(c.tokens * ld);
    Memory<float> q_weight(d), k_weight(d), cosine(c.tokens * half), sine(c.tokens * half);
    for (int64_t i = 0; i < d; ++i) {
      q_weight[i] = 1.0f + 0.3f * normal_value(random_);
      k_weight[i] = 1.0f + 0.3f * normal_value(random_);
    }
    for (int64_t i = 0; i < c.tokens * half; ++i) {
      const float angle = 3.0f * normal_value(random_);
      cosine[i] = std::cos(angle);
      sine[i] = std::sin(angle);
    }
    for (int64_t i = 0; i < c.tokens * ld; ++i) {
      const int64_t token = i / ld, head = i % ld / d, channel = i % ld % d;
      // A mean that differs by channel, as k has.
      float value = normal_value(random_) + static_cast<float>(channel % 5);
      if (c.odd) {
        if ((token + head) % 5 == 1) value = 0.0f;
        if ((token + head) % 5 == 3) value *= 1e15f;
        if (token == 2 && head == 0 && channel == d - 1) value = std::nanf("");
        if (token == 1 && head == 1 && channel == 0) value = std::numeric_limits<float>::infinity();
      }
      x[i] = T(value);
    }
    const std::vector<T> before(x.data(), x.data() + x.count());

    QkNormRopeParams p;
    p.type = sizeof(T) == 4 ? DType::kF32 : DType::kBF16;
    if (c.heads > 0) p.q = x.data();
    p.k = x.data() + c.heads * d;
    p.ld = ld;
    if (c.q_weight) p.q_weight = q_weight.data();
    if (c.k_weight) p.k_weight = k_weight.data();
    if (c.rope) p.cos = cosine.data(), p.sin = sine.data();
    p.pairing = c.adjacent ? RopePairing::kAdjacent : RopePairing::kHalves;
    p.eps = 1e-6f;
    p.tokens = c.tokens;
    p.heads = c.heads;
    p.kv_heads = c.kv_heads;
    p.head_dim = c.head_dim;
    Memory<int8_t> q8(c.heads * c.tokens * d), k8(c.kv_heads * c.tokens * d);
    Memory<float> q_scale(c.heads * c.tokens), k_scale(c.kv_heads * blocks);
    Memory<float> workspace(c.kv_heads * d * (blocks + 1));
    if (c.int8) {
      p.q8 = q8.data();
      p.q_scale = q_scale.data();
      p.k8 = k8.data();
      p.k_scale = k_scale.data();
      p.workspace = workspace.data();
    }
    sizeof(T) == 4 ? run_type<F32>(p, c.slow) : run_type<BF16>(p, c.slow);

    for (int64_t token = 0; token < c.tokens; ++token) {
      for (int64_t head = 0; head < c.heads + c.kv_heads; ++head) {
        const bool is_q = head < c.heads;
        const T* const in = before.data() + token * ld + head * d;
        const T* const out = x.data() + token * ld + head * d;
        if (is_q && c.int8) {
          ASSERT_EQ(std::memcmp(in, out, static_cast<size_t>(d) * sizeof(T)), 0) << "q was written";
        }
        const float* const weight = is_q ? p.q_weight : p.k_weight;
        double squares = 0.0;
        for (int64_t j = 0; j < d; ++j)
          squares += double{as_float(in[j])} * double{as_float(in[j])};
        const double inverse = std::isfinite(squares)
                                   ? 1.0 / std::sqrt(squares / static_cast<double>(d) + 1e-6)
                                   : std::nan("");
        std::vector<double> y(static_cast<size_t>(d));
        const auto normed = [&](int64_t i) {
          const double v = as_float(in[i]);
          return weight == nullptr ? v : v * inverse * double{weight[i]};
        };
        for (int64_t j = 0; j < half; ++j) {
          const int64_t first = c.adjacent ? 2 * j : j, second = c.adjacent ? 2 * j + 1 : j + half;
          const double a = normed(first), b = normed(second);
          const double co = cosine[token * half + j], si = sine[token * half + j];
          y[static_cast<size_t>(first)] = c.rope ? a * co - b * si : a;
          y[static_cast<size_t>(second)] = c.rope ? b * co + a * si : b;
        }
        double most = 0.0;
        bool finite = true;
        for (double v : y) finite = finite && std::isfinite(v), most = std::max(most, std::fabs(v));
        if (!finite) most = std::nan("");
        // Where nothing is normed, so large are the products that cancel.
        double size = 4.0;
        for (int64_t j = 0; weight == nullptr && j < d; ++j)
          size = std::max(size, std::fabs(double{as_float(in[j])}));
        if (is_q && c.int8) {
          const int64_t row = head * c.tokens + token;
          if (!finite) {
            ASSERT_TRUE(std::isnan(q_scale[row]));
          } else {
            ASSERT_TRUE(is_near(q_scale[row], std::max(most / 127.0, 1e-30), 16, 1e-30));
          }
          for (int64_t j = 0; j < d; ++j) {
            const double v = y[static_cast<size_t>(j)];
            const double steps = !finite || most < 1e-36 ? 0.0 : v * 127.0 / most;
            ASSERT_LE(std::fabs(q8[row * d + j] - steps), 0.5001)
                << token << ", " << head << ", " << j;
          }
          continue;
        }
        for (int64_t j = 0; j < d; ++j) {
          const double v = y[static_cast<size_t>(j)];
          // Half a step of bf16 is 2^15 steps of float.
          ASSERT_TRUE(is_near(as_float(out[j]), v, sizeof(T) == 4 ? 16 : 33000,
                              sizeof(T) == 4 ? size : size * 0x1p-12))
              << token << ", " << head << ", " << j << ": " << as_float(out[j]) << " for " << v;
        }
      }
      for (int64_t i = ld - c.gap; i < ld; ++i)
        ASSERT_EQ(std::memcmp(&x[token * ld + i], &before[static_cast<size_t>(token * ld + i)],
                              sizeof(T)),
                  0);
    }
    if (c.int8) check_keys(c, p, static_cast<const T*>(p.k));
    EXPECT_TRUE(x.guards_are_whole());
    for (auto* memory : {&q_scale, &k_scale, &workspace, &cosine})
      EXPECT_TRUE(memory->guards_are_whole());
    EXPECT_TRUE(q8.guards_are_whole() && k8.guards_are_whole());
  }

  template <typename T>
  void check_keys(const Case& c, const QkNormRopeParams& p, const T* k) {
    const int64_t d = c.head_dim, blocks = key_blocks(p);
    for (int64_t head = 0; head < c.kv_heads; ++head) {
      const float* const mean =
          static_cast<const float*>(p.workspace) + (c.kv_heads * blocks + head) * d;
      for (int64_t j = 0; j < d; ++j) {
        double sum = 0.0;
        for (int64_t t = 0; t < c.tokens; ++t) sum += double{as_float(k[t * p.ld + head * d + j])};
        ASSERT_TRUE(is_near(mean[j], sum / c.tokens, 64, 1.0)) << mean[j];
      }
      for (int64_t block = 0; block < blocks; ++block) {
        const int64_t first = block * kS8KeyBlock;
        const int64_t count = std::min<int64_t>(kS8KeyBlock, c.tokens - first);
        std::vector<float> values;
        for (int64_t t = first; t < first + count; ++t)
          for (int64_t j = 0; j < d; ++j)
            values.push_back(as_float(k[t * p.ld + head * d + j]) - mean[j]);
        std::vector<int8_t> expected(values.size());
        const float scale = ref_quantize_row_f32(values.data(), static_cast<int64_t>(values.size()),
                                                 expected.data());
        const float got = p.k_scale[head * blocks + block];
        ASSERT_TRUE(std::isnan(scale) ? std::isnan(got) : scale == got) << got << " for " << scale;
        ASSERT_EQ(
            std::memcmp(expected.data(), p.k8 + (head * c.tokens + first) * d, expected.size()), 0);
      }
    }
  }

  void check_both(Case c) {
    check<BFloat16>(c);
    check<float>(c);
  }

  std::mt19937 random_{5};
};

TEST_F(QkNormRope, InPlace) {
  for (int head_dim : {64, 128, 256}) {
    check_both({.tokens = 3, .heads = 18, .kv_heads = 18, .head_dim = head_dim});
    check_both({.tokens = 2, .heads = 40, .kv_heads = 3, .head_dim = head_dim, .gap = 16});
    check_both({.tokens = 4, .heads = 5, .kv_heads = 1, .head_dim = head_dim, .odd = true});
  }
}

TEST_F(QkNormRope, Int8) {
  for (int head_dim : {64, 128, 256}) {
    check_both({.tokens = 5, .heads = 19, .kv_heads = 3, .head_dim = head_dim, .int8 = true});
    check_both(
        {.tokens = 65, .heads = 2, .kv_heads = 2, .head_dim = head_dim, .gap = 8, .int8 = true});
    check_both(
        {.tokens = 6, .heads = 4, .kv_heads = 1, .head_dim = head_dim, .int8 = true, .odd = true});
  }
  // More blocks of keys than key_means has rows.
  check_both({.tokens = 64 * 10, .heads = 1, .kv_heads = 1, .head_dim = 64, .int8 = true});
}

// What a rank does with keys that others have normed and turned, beside int8 rows of q.
TEST_F(QkNormRope, KeysAlone) {
  for (int head_dim : {64, 128, 256})
    for (int kv_heads : {1, 2, 3})
      for (bool slow : {false, true})
        check_both({.tokens = 67,
                    .heads = 0,
                    .kv_heads = kv_heads,
                    .head_dim = head_dim,
                    .gap = 8,
                    .int8 = true,
                    .slow = slow,
                    .q_weight = false,
                    .k_weight = false,
                    .rope = false});
}

// Adjacent pairs, and every step that may be missing, on the fast path and the slow one.
TEST_F(QkNormRope, OtherStepsOfTheHeads) {
  constexpr int kAdjacent = 1, kNoQWeight = 2, kNoKWeight = 4, kNoRope = 8;
  for (int head_dim : {64, 128, 256}) {
    for (int steps :
         {kAdjacent, kNoQWeight, kAdjacent | kNoKWeight, kAdjacent | kNoQWeight | kNoKWeight,
          kNoQWeight | kNoKWeight, kNoRope, kNoRope | kNoQWeight | kNoKWeight}) {
      for (bool int8 : {false, true}) {
        Case c{
            .tokens = 3, .heads = 6, .kv_heads = 3, .head_dim = head_dim, .gap = 8, .int8 = int8};
        c.adjacent = (steps & kAdjacent) != 0;
        c.q_weight = (steps & kNoQWeight) == 0;
        c.k_weight = (steps & kNoKWeight) == 0;
        c.rope = (steps & kNoRope) == 0;
        check_both(c);
        if (head_dim != 64) continue;
        c.odd = true;
        check_both(c);
        c.slow = true;
        check_both(c);
      }
    }
  }
  for (bool adjacent : {false, true})
    check_both({.tokens = 67,
                .heads = 8,
                .kv_heads = 2,
                .head_dim = 128,
                .int8 = true,
                .adjacent = adjacent,
                .q_weight = adjacent,
                .rope = adjacent});
}

// A NaN or an Inf that no norm spreads over its head stays where it is, or turns with its partner.
TEST_F(QkNormRope, OddValuesWithoutANorm) {
  for (bool int8 : {false, true})
    for (bool rope : {false, true})
      for (bool slow : {false, true})
        check_both({.tokens = 6,
                    .heads = 4,
                    .kv_heads = 1,
                    .head_dim = 64,
                    .int8 = int8,
                    .slow = slow,
                    .odd = true,
                    .adjacent = true,
                    .q_weight = false,
                    .k_weight = false,
                    .rope = rope});
}

TEST_F(QkNormRope, AnyEvenHeadDimension) {
  for (int head_dim : {2, 6, 34, 80, 128, 130}) {
    for (bool int8 : {false, true}) {
      check_both({.tokens = 67,
                  .heads = 3,
                  .kv_heads = 2,
                  .head_dim = head_dim,
                  .gap = 1,
                  .int8 = int8,
                  .slow = true});
      check_both({.tokens = 6,
                  .heads = 4,
                  .kv_heads = 2,
                  .head_dim = head_dim,
                  .int8 = int8,
                  .slow = true,
                  .odd = true});
    }
  }
}

}  // namespace
}  // namespace intaglio::cuda
