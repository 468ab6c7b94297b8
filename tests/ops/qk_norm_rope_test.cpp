// Norm and rope of the heads by every implementation, at every instruction-set level of this
// machine and on its GPU, against the reference.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "ops/attention.h"
#include "ops/each_implementation.h"
#include "ops/quantize.h"

namespace intaglio {
namespace {

// What is asked of the heads.
struct Steps {
  RopePairing pairing = RopePairing::kHalves;
  bool norms_q = true, norms_k = true, turns = true;
};

constexpr RopePairing kHalves = RopePairing::kHalves, kAdjacent = RopePairing::kAdjacent;
constexpr Steps kAllSteps[] = {{kHalves},
                               {kAdjacent},
                               {kHalves, false, true},
                               {kAdjacent, true, false},
                               {kHalves, false, false},
                               {kAdjacent, false, false},
                               {kHalves, true, true, false},
                               {kAdjacent, false, true, false},
                               {kHalves, false, false, false}};

// A fused buffer [tokens, q | k | v-like rest] with its weights and rope table.
struct RopeCase {
  AttentionDesc desc;
  Steps steps{};
  int64_t rest = 0, ld = 0;  // columns after the heads, of all
  std::vector<float> values, q_weight, k_weight, cosine, sine;

  QkNormRopeArgs args(void* buffer) const {
    QkNormRopeArgs a;
    a.q = buffer;
    a.k = static_cast<std::byte*>(buffer) +
          static_cast<size_t>(desc.heads * desc.head_dim) * dtype_size(desc.dtype);
    a.ld = ld;
    if (steps.norms_q) a.q_weight = q_weight.data();
    if (steps.norms_k) a.k_weight = k_weight.data();
    if (steps.turns) a.rope = {cosine.data(), sine.data()};
    a.pairing = steps.pairing;
    a.eps = 1e-5f;
    return a;
  }
  // `buffer` is a device's; where that has the rest.
  QkNormRopeArgs args(void* buffer, test::Operands& on) const {
    QkNormRopeArgs a = args(buffer);
    const auto moved = [&](const float* values_there, const std::vector<float>& all) {
      return on.in(const_cast<float*>(values_there), all.size());
    };
    a.q_weight = moved(a.q_weight, q_weight);
    a.k_weight = moved(a.k_weight, k_weight);
    a.rope = {moved(a.rope.cos, cosine), moved(a.rope.sin, sine)};
    return a;
  }
};

// With a `rest` of 8 the rows of a GPU's fast kernels are whole vectors, with 3 they are not.
RopeCase make_case(const AttentionDesc& desc, const Steps& steps = {}, int64_t rest = 3) {
  RopeCase c;
  c.desc = desc;
  c.steps = steps;
  c.rest = rest;
  c.ld = (desc.heads + desc.kv_heads) * desc.head_dim + rest;
  std::mt19937 generator(1);
  std::normal_distribution<float> normal;
  c.values.resize(static_cast<size_t>(desc.tokens * c.ld));
  for (float& value : c.values) value = 2.0f * normal(generator);
  c.q_weight.resize(static_cast<size_t>(desc.head_dim));
  c.k_weight.resize(static_cast<size_t>(desc.head_dim));
  for (float& value : c.q_weight) value = 1.0f + 0.3f * normal(generator);
  for (float& value : c.k_weight) value = 1.0f + 0.3f * normal(generator);
  for (int64_t i = 0; i < desc.tokens * (desc.head_dim / 2); ++i) {
    const double angle = 3.0 * static_cast<double>(normal(generator));
    c.cosine.push_back(static_cast<float>(std::cos(angle)));
    c.sine.push_back(static_cast<float>(std::sin(angle)));
  }
  return c;
}

// The buffer after `run(context, args)`, in its own type's bytes and as floats.
struct Result {
  std::vector<std::byte> bytes;
  std::vector<float> floats;
};

template <typename Run>
Result apply(const RopeCase& c, const Context& context, Run&& run) {
  Result result;
  const size_t size = dtype_size(c.desc.dtype);
  result.bytes.resize(c.values.size() * size);
  for (size_t i = 0; i < c.values.size(); ++i) {
    const BFloat16 half(c.values[i]);
    std::memcpy(result.bytes.data() + i * size,
                c.desc.dtype == DType::kBF16 ? static_cast<const void*>(&half) : &c.values[i],
                size);
  }
  test::Operands on(context);
  run(context, c.args(on.out(result.bytes.data(), result.bytes.size()), on));
  on.fetch();
  result.floats.resize(c.values.size());
  convert_to_f32(result.bytes.data(), c.desc.dtype, result.floats.data(), c.values.size());
  return result;
}

Result apply(const QkNormRopeImplementation& implementation, const RopeCase& c, const Context& on) {
  return apply(c, on, [&](const Context& context, const QkNormRopeArgs& args) {
    const Status status = implementation.run(context, c.desc, args);
    EXPECT_TRUE(status) << status.error().message;
  });
}

Result reference_of(const RopeCase& c) {
  return apply(qk_norm_rope_implementations().back(), c, test::host_context());
}

// fn(implementation, context) for each that takes the case, on every device.
template <typename Fn>
void for_each_implementation(const RopeCase& c, Fn&& fn) {
  test::each_implementation(qk_norm_rope_implementations(), c.desc, fn);
}

const std::vector<int64_t> kHeadDims{2, 6, 14, 16, 30, 32, 34, 64, 80, 96, 128, 160, 256, 512};

TEST(QkNormRope, ReferenceByHand) {
  RopeCase c = make_case({.tokens = 1, .heads = 1, .kv_heads = 1, .head_dim = 2});
  c.values = {3.0f, 1.0f, 1.0f, 3.0f, 7.0f, 8.0f, 9.0f};
  c.q_weight = {1.0f, 2.0f};
  c.k_weight = {1.0f, 1.0f};
  c.cosine = {0.6f};
  c.sine = {0.8f};
  const std::vector<float> found = reference_of(c).floats;
  const float inverse = 1.0f / std::sqrt(5.0f + 1e-5f);  // mean of squares of (3, 1)
  EXPECT_NEAR(found[0], inverse * (3.0f * 0.6f - 2.0f * 0.8f), 1e-6f);
  EXPECT_NEAR(found[1], inverse * (2.0f * 0.6f + 3.0f * 0.8f), 1e-6f);
  EXPECT_NEAR(found[2], inverse * (1.0f * 0.6f - 3.0f * 0.8f), 1e-6f);
  EXPECT_NEAR(found[3], inverse * (3.0f * 0.6f + 1.0f * 0.8f), 1e-6f);
  for (size_t i = 4; i < 7; ++i) EXPECT_EQ(found[i], c.values[i]);
}

TEST(QkNormRope, AdjacentChannelsByHand) {
  RopeCase c = make_case({.tokens = 1, .heads = 1, .kv_heads = 1, .head_dim = 4}, {kAdjacent});
  c.values = {3.0f, 1.0f, 1.0f, 1.0f, 1.0f, 2.0f, 4.0f, 8.0f, 7.0f, 8.0f, 9.0f};
  c.steps.norms_k = false;
  c.q_weight = {1.0f, 2.0f, 3.0f, 4.0f};
  c.cosine = {0.6f, 0.0f};
  c.sine = {0.8f, 1.0f};
  const std::vector<float> found = reference_of(c).floats;
  const float inverse = 1.0f / std::sqrt(3.0f + 1e-5f);  // mean of squares of (3, 1, 1, 1)
  EXPECT_NEAR(found[0], inverse * (3.0f * 0.6f - 2.0f * 0.8f), 1e-6f);
  EXPECT_NEAR(found[1], inverse * (2.0f * 0.6f + 3.0f * 0.8f), 1e-6f);
  EXPECT_NEAR(found[2], inverse * -4.0f, 1e-6f);
  EXPECT_NEAR(found[3], inverse * 3.0f, 1e-6f);
  EXPECT_NEAR(found[4], 1.0f * 0.6f - 2.0f * 0.8f, 1e-6f);
  EXPECT_NEAR(found[5], 2.0f * 0.6f + 1.0f * 0.8f, 1e-6f);
  EXPECT_EQ(found[6], -8.0f);
  EXPECT_EQ(found[7], 4.0f);
  for (size_t i = 8; i < 11; ++i) EXPECT_EQ(found[i], c.values[i]);
}

void expect_matches_reference(const RopeCase& c) {
  const Result expected = reference_of(c);
  // Two products of normalized values up to about 5 are subtracted: 1e-6 of those; values that are
  // not normed reach 10. A GPU's sum of squares is float32 throughout. bf16: one step, 2^-7, where
  // rounding differs.
  const bool norms = c.steps.norms_q && c.steps.norms_k;
  for_each_implementation(c, [&](const QkNormRopeImplementation& implementation,
                                 const Context& context) {
    const Result found = apply(implementation, c, context);
    for (size_t i = 0; i < c.values.size(); ++i) {
      const float e = expected.floats[i];
      if (static_cast<int64_t>(i) % c.ld >= c.ld - c.rest) {
        ASSERT_EQ(found.floats[i], e);  // what lies between the rows is untouched
        continue;
      }
      const float rounding = c.desc.dtype == DType::kBF16 ? std::fabs(e) * 0x1p-7f : 0.0f;
      ASSERT_NEAR(found.floats[i], e, (norms && context.gpu == nullptr ? 5e-6f : 1e-5f) + rounding)
          << "head_dim " << c.desc.head_dim << ", " << i;
    }
  });
}

TEST(QkNormRope, MatchesReference) {
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    for (const int64_t head_dim : kHeadDims) {
      for (const Steps& steps : kAllSteps) {
        for (const int64_t rest : {3, 8})
          expect_matches_reference(make_case(
              {.tokens = 9, .heads = 4, .kv_heads = 2, .head_dim = head_dim, .dtype = dtype}, steps,
              rest));
      }
    }
  }
}

// Adjacent pairs are halves of other channels: without a norm, whose sum has an order, to the last
// bit.
TEST(QkNormRope, AdjacentIsHalvesOfChannelsTakenApart) {
  for (const int64_t head_dim : kHeadDims) {
    const RopeCase c = make_case({.tokens = 3, .heads = 2, .kv_heads = 1, .head_dim = head_dim},
                                 {kAdjacent, false, false});
    RopeCase apart = c;
    apart.steps.pairing = kHalves;
    // Where channel j of a half lies among adjacent ones.
    const auto adjacent = [&](size_t i) {
      const auto at = static_cast<int64_t>(i);
      const int64_t column = at % c.ld, channel = column % head_dim, half = head_dim / 2;
      if (column >= 3 * head_dim) return i;
      return static_cast<size_t>(at - channel +
                                 (channel < half ? 2 * channel : 2 * (channel - half) + 1));
    };
    for (size_t i = 0; i < c.values.size(); ++i) apart.values[i] = c.values[adjacent(i)];
    for_each_implementation(
        c, [&](const QkNormRopeImplementation& implementation, const Context& context) {
          const Result found = apply(implementation, c, context);
          const Result expected = apply(implementation, apart, context);
          for (size_t i = 0; i < c.values.size(); ++i)
            ASSERT_EQ(found.floats[adjacent(i)], expected.floats[i]) << i;
        });
  }
}

TEST(QkNormRope, NothingAskedChangesNothing) {
  RopeCase c = make_case({.tokens = 2, .heads = 2, .kv_heads = 1, .head_dim = 34},
                         {kAdjacent, false, false, false});
  c.values[3] = std::nanf("");
  c.values[4] = -0.0f;
  for_each_implementation(
      c, [&](const QkNormRopeImplementation& implementation, const Context& context) {
        const Result found = apply(implementation, c, context);
        EXPECT_EQ(std::memcmp(found.bytes.data(), c.values.data(), found.bytes.size()), 0);
      });
}

// All vector implementations give the same bits, with any number of threads. bf16 is the rounding
// of the same floats as in float32.
TEST(QkNormRope, SameBitsAcrossLevelsAndThreads) {
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    for (size_t i = 0; i < std::size(kHeadDims) * std::size(kAllSteps); ++i) {
      const int64_t head_dim = kHeadDims[i / std::size(kAllSteps)];
      RopeCase c =
          make_case({.tokens = 11, .heads = 3, .kv_heads = 1, .head_dim = head_dim, .dtype = dtype},
                    kAllSteps[i % std::size(kAllSteps)]);
      for (float& value : c.values) value = static_cast<float>(BFloat16(value));
      const auto implementations = qk_norm_rope_implementations();
      std::vector<std::byte> first;
      for (const QkNormRopeImplementation& implementation :
           implementations.first(implementations.size() - 1)) {
        if (implementation.can_run(c.desc, test::host_context()) != nullptr) continue;
        for (const int threads : {1, 3}) {
          const Result result = apply(implementation, c, test::host_context(threads));
          if (first.empty()) first = result.bytes;
          ASSERT_EQ(result.bytes, first) << implementation.name << ", head_dim " << head_dim;
        }
        RopeCase wide = c;
        wide.desc.dtype = DType::kF32;
        const Result floats = apply(implementation, wide, test::host_context());
        const Result own = apply(implementation, c, test::host_context());
        for (size_t at = 0; dtype == DType::kBF16 && at < c.values.size(); ++at) {
          ASSERT_EQ(own.floats[at], static_cast<float>(BFloat16(floats.floats[at])));
        }
      }
    }
  }
}

// Int8 heads are made on GPUs only: q as ops/quantize.h quantizes the heads of the reference, k
// likewise 64 tokens at once, from values that were rounded to the type and without their mean over
// the tokens. Half a step of int8, and what the values themselves may be off.
TEST(QkNormRope, Int8HeadsAreTheQuantizedHeads) {
  const auto check = [](const QkNormRopeImplementation& implementation, const Context& at,
                        const RopeCase& c) {
    const AttentionDesc& d = c.desc;
    const int64_t blocks = (d.tokens + kS8KeyBlock - 1) / kS8KeyBlock;
    std::vector<int8_t> q(static_cast<size_t>(d.heads * d.tokens * d.head_dim));
    std::vector<int8_t> k(static_cast<size_t>(d.kv_heads * d.tokens * d.head_dim));
    std::vector<float> q_scale(static_cast<size_t>(d.heads * d.tokens));
    std::vector<float> k_scale(static_cast<size_t>(d.kv_heads * blocks));
    auto memory = allocate(at, qk_norm_rope_scratch_bytes(at, d));
    ASSERT_TRUE(memory);
    Arena arena(std::move(*memory));
    Context context = at;
    context.scratch = &arena;
    test::Operands on(context);
    const S8Heads heads{.q = on.out(q.data(), q.size()),
                        .k = on.out(k.data(), k.size()),
                        .q_scale = on.out(q_scale.data(), q_scale.size()),
                        .k_scale = on.out(k_scale.data(), k_scale.size())};
    apply(c, context, [&](const Context& with_scratch, QkNormRopeArgs args) {
      args.s8 = heads;
      const Status status = implementation.run(with_scratch, d, args);
      EXPECT_TRUE(status) << status.error().message;
    });
    on.fetch();
    EXPECT_EQ(arena.used(), 0u);
    EXPECT_EQ(arena.peak(), arena.capacity());

    RopeCase exact = c;
    for (float& value : exact.values)
      if (d.dtype == DType::kBF16) value = static_cast<float>(BFloat16(value));
    exact.desc.dtype = DType::kF32;
    exact.desc.scores = AttentionScores::kFloat;
    const std::vector<float> y = reference_of(exact).floats;
    const auto value = [&](int64_t t, int64_t head, int64_t j) {
      return static_cast<double>(y[static_cast<size_t>(t * c.ld + head * d.head_dim + j)]);
    };
    const double rounding = d.dtype == DType::kBF16 ? 0x1p-8 : 0.0;
    const auto expect_near = [](double got, double expected, double scale, double other) {
      ASSERT_NEAR(got * scale, expected, 0.501 * scale + other + 1e-5);
    };
    for (int64_t h = 0; h < d.heads; ++h) {
      for (int64_t t = 0; t < d.tokens; ++t) {
        const auto row = static_cast<size_t>(h * d.tokens + t);
        double most = 0.0;
        for (int64_t j = 0; j < d.head_dim; ++j) most = std::max(most, std::fabs(value(t, h, j)));
        ASSERT_NEAR(q_scale[row], most / 127.0, 1e-5 * most / 127.0);
        for (int64_t j = 0; j < d.head_dim; ++j)
          expect_near(q[row * static_cast<size_t>(d.head_dim) + static_cast<size_t>(j)],
                      value(t, h, j), q_scale[row], 0.0);
      }
    }
    for (int64_t h = 0; h < d.kv_heads; ++h) {
      for (int64_t j = 0; j < d.head_dim; ++j) {
        double mean = 0.0, most = 0.0;
        for (int64_t t = 0; t < d.tokens; ++t) {
          const double x = value(t, d.heads + h, j);
          mean += x / static_cast<double>(d.tokens);
          most = std::max(most, std::fabs(x));
        }
        for (int64_t t = 0; t < d.tokens; ++t) {
          expect_near(k[static_cast<size_t>((h * d.tokens + t) * d.head_dim + j)],
                      value(t, d.heads + h, j) - mean,
                      k_scale[static_cast<size_t>(h * blocks + t / kS8KeyBlock)],
                      2.0 * rounding * most);
        }
      }
    }
  };
  test::each_device([&](const Context& context, const std::string& device) {
    if (context.gpu == nullptr) return;
    for (const DType dtype : {DType::kF32, DType::kBF16}) {
      for (const int64_t head_dim : {34, 64, 128, 256}) {
        for (const Steps& steps : kAllSteps) {
          for (const int64_t rest : {3, 8}) {
            const RopeCase c = make_case({.tokens = 70,
                                          .heads = 4,
                                          .kv_heads = 2,
                                          .head_dim = head_dim,
                                          .dtype = dtype,
                                          .scores = AttentionScores::kS8},
                                         steps, rest);
            SCOPED_TRACE(fmt::format("{} head_dim {} rest {}", dtype_name(dtype), head_dim, rest));
            test::each_taker(qk_norm_rope_implementations(), c.desc, context, device, 1,
                             [&](const QkNormRopeImplementation& implementation,
                                 const Context& at) { check(implementation, at, c); });
          }
        }
      }
    }
  });
}

TEST(QkNormRope, EachLevelAndBadArguments) {
  const RopeCase c = make_case({.tokens = 5, .heads = 2, .kv_heads = 1, .head_dim = 64});
  const Result expected = reference_of(c);
  for (const CpuIsa isa : {CpuIsa::kRef, CpuIsa::kAvx2, CpuIsa::kAvx512Vnni, CpuIsa::kAmx}) {
    if (isa > host_cpu_features().isa) continue;
    Context context = test::host_context();
    context.cpu = limit_cpu_features(host_cpu_features(), isa);
    const Result found = apply(c, context, [&](const Context& limited, const QkNormRopeArgs& args) {
      EXPECT_TRUE(qk_norm_rope(limited, c.desc, args));
    });
    for (size_t i = 0; i < c.values.size(); ++i)
      ASSERT_NEAR(found.floats[i], expected.floats[i], 5e-6f);
  }
  std::vector<float> buffer = c.values;
  // The message of a refusal, "" where there is none.
  const auto refusal = [&](const AttentionDesc& desc, const QkNormRopeArgs& args) {
    const Status status = qk_norm_rope(test::host_context(), desc, args);
    return status ? std::string() : status.error().message;
  };
  const QkNormRopeArgs good = c.args(buffer.data());
  AttentionDesc desc = c.desc;
  EXPECT_EQ(refusal(desc, good), "");
  desc.head_dim = 63;
  EXPECT_EQ(refusal(desc, good), "qk_norm_rope: head_dim 63 is odd; channels are rotated in pairs");
  QkNormRopeArgs args = good;
  args.rope.sin = nullptr;
  EXPECT_EQ(refusal(c.desc, args),
            "qk_norm_rope: the rope has no sin; give cos and sin, or neither");
  args = good;
  args.rope.cos = nullptr;
  EXPECT_EQ(refusal(c.desc, args),
            "qk_norm_rope: the rope has no cos; give cos and sin, or neither");
  args = good;
  args.ld = 64;
  EXPECT_EQ(refusal(c.desc, args), "qk_norm_rope: token stride 64; expected at least 128");
  args = good;
  args.k = nullptr;
  EXPECT_EQ(refusal(c.desc, args),
            "qk_norm_rope: q, k and, where asked for, the int8 heads must not be null");
  // Int8 heads are made on GPUs only.
  desc = c.desc;
  desc.scores = AttentionScores::kS8;
  args = good;
  std::vector<int8_t> q8(5 * 2 * 64);
  args.s8.q = q8.data();
  EXPECT_NE(refusal(desc, args).find("no int8 heads"), std::string::npos) << refusal(desc, args);
}

}  // namespace
}  // namespace intaglio
