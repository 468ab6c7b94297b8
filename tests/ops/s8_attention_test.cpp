// Attention of int8 heads, and of these with int8 values, on every device: against the reference,
// and the reference against float64 within the bound of ops/attention.h.
#include "core/cuda_device.h"
#include "ops/attention_cases.h"
#include "ops/each_implementation.h"
#include "ops/s8_value_layout.h"

namespace intaglio {
namespace {

// Weights and output are each rounded to 8 bits (2^-9 at most, in the mean over keys less).
constexpr double kBF16Tolerance = 1e-2;

// Heads of int8 with their scales, as qk_norm_rope makes them, and the case of the values they
// stand for.
struct S8Case {
  AttentionCase exact;
  std::vector<int8_t> q, k;
  std::vector<float> q_scale, k_scale;
};

S8Case make_s8_case(AttentionDesc desc) {
  desc.dtype = DType::kBF16;
  S8Case c{.exact = make_case(desc), .q = {}, .k = {}, .q_scale = {}, .k_scale = {}};
  AttentionCase& exact = c.exact;
  std::vector<float> v(exact.values.size());
  convert_to_f32(exact.buffer.data(), DType::kBF16, v.data(), v.size());
  exact.values = v;
  std::mt19937 random(7);
  const auto byte = [&] { return static_cast<int8_t>(static_cast<int>(random() % 255) - 127); };
  const auto scale = [&] { return (0.5f + static_cast<float>(random() % 64) / 64.0f) / 64.0f; };
  for (int64_t h = 0; h < desc.heads; ++h) {
    for (int64_t t = 0; t < desc.tokens; ++t) {
      c.q_scale.push_back(scale());
      for (int64_t j = 0; j < desc.head_dim; ++j) {
        c.q.push_back(byte());
        exact.q(t, h, j) = static_cast<float>(c.q.back()) * c.q_scale.back();
      }
    }
  }
  for (int64_t h = 0; h < desc.kv_heads; ++h) {
    for (int64_t t = 0; t < desc.tokens; ++t) {
      if (t % kS8KeyBlock == 0) c.k_scale.push_back(scale());
      for (int64_t j = 0; j < desc.head_dim; ++j) {
        c.k.push_back(byte());
        exact.k(t, h, j) = static_cast<float>(c.k.back()) * c.k_scale.back();
      }
    }
  }
  exact.desc.dtype = DType::kF32;
  exact.store();
  return c;
}

// What `implementation` makes of the case's int8 heads.
std::vector<float> run_s8(const AttentionImplementation& implementation, const AttentionCase& c,
                          S8Case& heads, const Context& context) {
  test::Operands on(context);
  const S8Heads s8{.q = on.in(heads.q.data(), heads.q.size()),
                   .k = on.in(heads.k.data(), heads.k.size()),
                   .q_scale = on.in(heads.q_scale.data(), heads.q_scale.size()),
                   .k_scale = on.in(heads.k_scale.data(), heads.k_scale.size())};
  return run_case(c, context, implementation.scratch_bytes(c.desc, context.threads),
                  [&](const Context& with_scratch, AttentionArgs args) {
                    args.s8 = s8;
                    return implementation.run(with_scratch, c.desc, args);
                  });
}

// Int8 scores are exact; weights and output are rounded as by the bf16 kernels. GPUs alone have
// them.
TEST(S8Attention, ScoresMatchTheReference) {
  test::each_device([](const Context& context, const std::string& device) {
    if (context.gpu == nullptr || context.gpu->compute_capability < 80) return;
    for (const bool causal : {false, true}) {
      for (const int64_t head_dim : {64, 128, 256}) {
        for (const int64_t tokens : {1, 63, 65, 200}) {
          S8Case c = make_s8_case({tokens, 4, 2, head_dim, causal});
          AttentionCase narrow = c.exact;
          narrow.desc.dtype = DType::kBF16;
          narrow.desc.scores = AttentionScores::kS8;
          narrow.store();
          SCOPED_TRACE(to_text(narrow.desc));
          const auto check = [&](const AttentionImplementation& implementation, const Context& at) {
            EXPECT_LE(worst_row_error(narrow.desc, run_s8(implementation, narrow, c, at),
                                      reference_of(c.exact)),
                      kBF16Tolerance);
          };
          test::each_taker(attention_implementations(), narrow.desc, context, device, 1, check);
        }
      }
    }
  });
}

// On a GPU the levels of the weights may differ where a 255th of one is halfway between two and the
// exponential is off by 2^-22: one key of thousands, by a 255th of its group's greatest weight. The
// output is rounded to bf16 beside it.
constexpr double kInt8ValuesTolerance = 5e-3;

AttentionCase with_s8_values(const AttentionCase& exact, DType dtype) {
  AttentionCase c = exact;
  c.desc.dtype = dtype;
  c.desc.scores = AttentionScores::kS8;
  c.desc.values = AttentionValues::kS8;
  c.store();
  return c;
}

TEST(S8Attention, ValuesMatchTheReference) {
  for (const int64_t head_dim : {64, 128, 256}) {
    for (const int64_t tokens : {1, 31, 33, 65, 200}) {
      S8Case heads = make_s8_case({tokens, 4, 2, head_dim});
      const AttentionCase wide = with_s8_values(heads.exact, DType::kF32);
      const AttentionCase narrow = with_s8_values(heads.exact, DType::kBF16);
      SCOPED_TRACE(to_text(narrow.desc));
      const std::vector<float> expected =
          run_s8(attention_implementations().back(), wide, heads, test::host_context(2));
      test::each_implementation(
          attention_implementations(), narrow.desc,
          [&](const AttentionImplementation& implementation, const Context& context) {
            EXPECT_LE(worst_row_error(narrow.desc, run_s8(implementation, narrow, heads, context),
                                      expected),
                      kInt8ValuesTolerance);
          });
    }
  }
}

// Of an int8 value attention over float64: the largest share of the bound of AttentionValues::kS8
// that an element's error takes, and the error of the whole output relative to it.
struct Int8ValuesError {
  double of_bound, relative;
};

Int8ValuesError int8_values_error(S8Case& heads) {
  AttentionCase& exact = heads.exact;
  exact.store();
  const std::vector<float> expected = reference_of(exact);
  const std::vector<float> found =
      run_s8(attention_implementations().back(), with_s8_values(exact, DType::kF32), heads,
             test::host_context(2));
  const AttentionDesc& desc = exact.desc;
  const int64_t d = desc.head_dim;
  double worst = 0.0, errors = 0.0, squares = 0.0;
  for (int64_t h = 0; h < desc.heads; ++h) {
    const int64_t kv = h / (desc.heads / desc.kv_heads);
    for (int64_t t = 0; t < desc.tokens; ++t) {
      std::vector<double> w;
      double total = 0.0;
      for (int64_t s = 0; s < desc.tokens; ++s) {
        double x = 0.0;
        for (int64_t j = 0; j < d; ++j)
          x += static_cast<double>(exact.q(t, h, j)) * static_cast<double>(exact.k(s, kv, j));
        w.push_back(std::exp(x / std::sqrt(static_cast<double>(d))));
        total += w.back();
      }
      std::vector<double> greatest;  // of each key's group
      for (int64_t s = 0; s < desc.tokens; ++s) {
        const auto first = w.begin() + s / kS8ValueKeys * kS8ValueKeys;
        const auto end =
            w.begin() + std::min<int64_t>(desc.tokens, first - w.begin() + kS8ValueKeys);
        greatest.push_back(*std::max_element(first, end) / total);
      }
      for (int64_t j = 0; j < d; ++j) {
        double mean = 0.0, most = 0.0, bound = 1e-6;
        for (int64_t s = 0; s < desc.tokens; ++s)
          mean += static_cast<double>(exact.v(s, kv, j)) / static_cast<double>(desc.tokens);
        const auto off = [&](int64_t s) {
          return std::fabs(static_cast<double>(exact.v(s, kv, j)) - mean);
        };
        for (int64_t s = 0; s < desc.tokens; ++s) most = std::max(most, off(s));
        const double half_step = most / 127.0 / 2.0;
        for (int64_t s = 0; s < desc.tokens; ++s)
          bound += greatest[static_cast<size_t>(s)] * (off(s) + half_step) / 510.0;
        bound += half_step;
        const auto at = static_cast<size_t>((t * desc.heads + h) * d + j);
        const double y = static_cast<double>(expected[at]);
        const double error = static_cast<double>(found[at]) - y;
        worst = std::max(worst, std::fabs(error) / bound);
        errors += error * error;
        squares += y * y;
      }
    }
  }
  return {worst, std::sqrt(errors / squares)};
}

// Rounding of v: its largest of 200 normal numbers is near 2.8 deviations, a step 2.8 / 127, the
// error 2.8 / 127 / sqrt(12) = 6.4e-3 of a deviation, and of the output as much where weights and
// errors are independent. Weights are off by 1 / 255 / sqrt(12) = 1.1e-3 of their group's greatest,
// which is a few times the others.
TEST(S8Attention, ValuesOfNormalNumbers) {
  S8Case heads = make_s8_case({200, 4, 2, 64});
  const Int8ValuesError error = int8_values_error(heads);
  EXPECT_LE(error.of_bound, 1.0);
  EXPECT_LT(error.relative, 1e-2);
}

// Logits eight times as large: a few keys take all weight, and the error is that of v alone.
TEST(S8Attention, ValuesOfPeakedWeights) {
  S8Case heads = make_s8_case({200, 4, 2, 64});
  for (float& scale : heads.q_scale) scale *= 8.0f;
  for (int64_t t = 0; t < 200; ++t)
    for (int64_t j = 0; j < 4 * 64; ++j) heads.exact.q(t, 0, j) *= 8.0f;
  const Int8ValuesError error = int8_values_error(heads);
  EXPECT_LE(error.of_bound, 1.0);
  EXPECT_LT(error.relative, 1e-2);
}

// Equal weights are 255 of 255, and rounding errors of v average out as v does: relative to what
// 200 keys leave of it they are what they were.
TEST(S8Attention, ValuesOfEqualWeights) {
  S8Case heads = make_s8_case({200, 4, 2, 64});
  std::fill(heads.q.begin(), heads.q.end(), int8_t{0});
  for (int64_t t = 0; t < 200; ++t)
    for (int64_t j = 0; j < 4 * 64; ++j) heads.exact.q(t, 0, j) = 0.0f;
  const Int8ValuesError error = int8_values_error(heads);
  EXPECT_LE(error.of_bound, 0.5);
  EXPECT_LT(error.relative, 1e-2);
}

// Channels twenty times as large have scales of their own, and a mean of a hundred deviations is no
// part of what is rounded: relative to the output, which it is most of, almost nothing is lost.
TEST(S8Attention, ValuesOfOutliersAndMeans) {
  const auto change = [](S8Case& heads, float mean) {
    for (int64_t t = 0; t < 200; ++t)
      for (int64_t h = 0; h < 2; ++h)
        for (int64_t j = 0; j < 64; ++j) {
          float& v = heads.exact.v(t, h, j);
          v = static_cast<float>(BFloat16(v * (j % 16 == 3 ? 20.0f : 1.0f))) + mean;
        }
  };
  S8Case outliers = make_s8_case({200, 4, 2, 64}), means = make_s8_case({200, 4, 2, 64});
  change(outliers, 0.0f);
  change(means, 100.0f);
  const Int8ValuesError of_outliers = int8_values_error(outliers);
  EXPECT_LE(of_outliers.of_bound, 1.0);
  EXPECT_LT(of_outliers.relative, 1e-2);
  const Int8ValuesError of_means = int8_values_error(means);
  EXPECT_LE(of_means.of_bound, 1.1);  // float32 has steps of 7.6e-6 at 100
  EXPECT_LT(of_means.relative, 4e-4);
}

// One key of weight 1000 beside 199 of 1: what is left of the small ones of other groups counts,
// and what rounding takes from those of the large one's group goes to the mean.
TEST(S8Attention, ValuesOfASink) {
  S8Case heads = make_s8_case({200, 1, 1, 64});
  std::fill(heads.q.begin(), heads.q.end(), int8_t{0});
  std::fill(heads.k.begin(), heads.k.end(), int8_t{0});
  std::fill(heads.q_scale.begin(), heads.q_scale.end(), 1.0f);
  std::fill(heads.k_scale.begin(), heads.k_scale.end(),
            static_cast<float>(std::log(1000.0) * 8.0 / 100.0));
  for (int64_t t = 0; t < 200; ++t) {
    heads.q[static_cast<size_t>(t * 64)] = 1;
    heads.k[static_cast<size_t>(t * 64)] = t == 70 ? 100 : 0;
    for (int64_t j = 0; j < 64; ++j) {
      heads.exact.q(t, 0, j) = j == 0 ? 1.0f : 0.0f;
      heads.exact.k(t, 0, j) = j == 0 && t == 70 ? 100.0f * heads.k_scale[0] : 0.0f;
    }
  }
  const Int8ValuesError error = int8_values_error(heads);
  EXPECT_LE(error.of_bound, 1.0);
  EXPECT_LT(error.relative, 1e-2);
}

TEST(S8Attention, ValuesAreRefusedWhereTheyCannotBe) {
  const AttentionDesc good{.tokens = 64,
                           .heads = 2,
                           .kv_heads = 2,
                           .head_dim = 64,
                           .dtype = DType::kBF16,
                           .scores = AttentionScores::kS8,
                           .values = AttentionValues::kS8};
  const Context host = test::host_context(1);
  const auto message = [&](auto&& change, const Context& context) {
    AttentionDesc desc = good;
    change(desc);
    const auto chosen = choose_attention(desc, context);
    return chosen ? std::string() : chosen.error().message;
  };
  const auto says = [&](const char* part, auto&& change) {
    EXPECT_NE(message(change, host).find(part), std::string::npos) << message(change, host);
  };
  EXPECT_EQ(message([](AttentionDesc&) {}, host), "");
  says("int8 values with float scores",
       [](AttentionDesc& d) { d.scores = AttentionScores::kFloat; });
  says("int8 values with a causal mask", [](AttentionDesc& d) { d.causal = true; });
  says("64 tokens over 65 keys with int8 scores", [](AttentionDesc& d) { d.keys = 65; });
  for (const AttentionImplementation& implementation : attention_implementations()) {
    if (implementation.device == DeviceKind::kCpu) {
      EXPECT_EQ(implementation.can_run(good, host) == nullptr,
                std::string_view(implementation.name) == "ref_attention")
          << implementation.name;
    }
  }
  test::each_device([&](const Context& context, const std::string&) {
    if (context.gpu == nullptr) return;
    const auto other_head = [](AttentionDesc& d) { d.head_dim = 96; };
    EXPECT_NE(message(other_head, context).find("2/2 heads x 96, BF16, int8 scores and values"),
              std::string::npos)
        << message(other_head, context);
    int takers = 0;
    for (const AttentionImplementation& implementation : attention_implementations())
      takers += implementation.device == DeviceKind::kGpu &&
                implementation.can_run(good, context) == nullptr;
    EXPECT_EQ(takers, context.gpu->compute_capability >= 80 ? 1 : 0);
  });
}

}  // namespace
}  // namespace intaglio
