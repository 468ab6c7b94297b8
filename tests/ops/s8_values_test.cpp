// Every implementation of quantize_values, at every instruction-set level of this machine and on
// its GPU, against the formula of ops/s8_values.h, bit for bit.
#include "ops/s8_values.h"

#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "ops/each_implementation.h"

namespace intaglio {
namespace {

struct Shape {
  int64_t tokens, kv_heads, head_dim, gap;
  int64_t channels() const { return kv_heads * head_dim; }
  int64_t groups() const { return (tokens + kS8ValueKeys - 1) / kS8ValueKeys; }
};

struct Result {
  std::vector<int8_t> values;
  std::vector<float> scale, mean;
};

// v [tokens, channels + gap] as float; what lies between the tokens is NaN.
template <typename Value>
std::vector<float> make_v(const Shape& shape, Value&& value) {
  const int64_t ld = shape.channels() + shape.gap;
  std::vector<float> v(static_cast<size_t>(shape.tokens * ld),
                       std::numeric_limits<float>::quiet_NaN());
  for (int64_t s = 0; s < shape.tokens; ++s)
    for (int64_t c = 0; c < shape.channels(); ++c)
      v[static_cast<size_t>(s * ld + c)] = static_cast<float>(BFloat16(value(s, c)));
  return v;
}

Result run(const OpImplementation<QuantizeValues>& implementation, const Shape& shape,
           const std::vector<float>& v, DType dtype, Context context) {
  Result r{.values = std::vector<int8_t>(
               static_cast<size_t>(shape.channels() * shape.groups() * kS8ValueKeys), 99),
           .scale = std::vector<float>(static_cast<size_t>(shape.channels()), 99.0f),
           .mean = std::vector<float>(static_cast<size_t>(shape.channels()), 99.0f)};
  std::vector<BFloat16> half;
  for (const float x : v) half.emplace_back(x);
  test::Operands on(context);
  QuantizeValues op{.ldv = shape.channels() + shape.gap,
                    .tokens = shape.tokens,
                    .kv_heads = shape.kv_heads,
                    .head_dim = shape.head_dim,
                    .dtype = dtype,
                    .out = {.values = on.out(r.values.data(), r.values.size()),
                            .scale = on.out(r.scale.data(), r.scale.size()),
                            .mean = on.out(r.mean.data(), r.mean.size())}};
  op.v = dtype == DType::kBF16
             ? static_cast<const void*>(on.in(half.data(), half.size()))
             : static_cast<const void*>(on.in(const_cast<float*>(v.data()), v.size()));
  const size_t scratch = quantize_values_scratch_bytes(context, op);
  auto memory = allocate(context, scratch);
  EXPECT_TRUE(memory);
  Arena arena(std::move(*memory));
  context.scratch = &arena;
  EXPECT_EQ(implementation.can_run(op, context), nullptr);
  const Status status = implementation.run(context, op);
  EXPECT_TRUE(status) << status.error().message;
  on.fetch();
  EXPECT_EQ(arena.peak(), scratch);
  return r;
}

// The formula once more, a channel at a time.
Result expected_of(const Shape& shape, const std::vector<float>& v) {
  Result r;
  for (int64_t h = 0; h < shape.kv_heads; ++h) {
    std::vector<int8_t> head(static_cast<size_t>(shape.groups() * shape.head_dim * kS8ValueKeys),
                             0);
    for (int64_t c = 0; c < shape.head_dim; ++c) {
      std::vector<float> x;
      for (int64_t s = 0; s < shape.tokens; ++s)
        x.push_back(
            v[static_cast<size_t>(s * (shape.channels() + shape.gap) + h * shape.head_dim + c)]);
      float total = 0.0f, part = 0.0f, most = 0.0f;
      for (size_t s = 0; s < x.size(); ++s) {
        part += x[s];
        if (s % kS8MeanTokens == kS8MeanTokens - 1 || s + 1 == x.size()) {
          total += part;
          part = 0.0f;
        }
      }
      const float mean = total / static_cast<float>(x.size());
      for (float& value : x) {
        value -= mean;
        if (!(std::fabs(value) <= most)) most = std::fabs(value);
        if (std::isnan(value)) break;
      }
      const bool damaged = !std::isfinite(most);
      r.mean.push_back(mean);
      r.scale.push_back(damaged ? std::numeric_limits<float>::quiet_NaN()
                                : std::fmax(most / 127.0f, 1e-30f));
      if (damaged || most < 1e-36f) continue;
      for (int64_t s = 0; s < shape.tokens; ++s) {
        // Where key s of its group lies: the inverse of s8_value_key, found.
        int position = 0;
        while (s8_value_key(position) != s % kS8ValueKeys) ++position;
        const float q = std::nearbyint(x[static_cast<size_t>(s)] * (127.0f / most));
        head[static_cast<size_t>((s / kS8ValueKeys * shape.head_dim + c) * kS8ValueKeys +
                                 position)] = static_cast<int8_t>(q);
      }
    }
    r.values.insert(r.values.end(), head.begin(), head.end());
  }
  return r;
}

void expect_same(const std::vector<float>& a, const std::vector<float>& b, const char* what) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i)
    ASSERT_TRUE(a[i] == b[i] || (std::isnan(a[i]) && std::isnan(b[i])))
        << what << " of channel " << i << ": " << a[i] << ", expected " << b[i];
}

template <typename Value>
void check(const Shape& shape, Value&& value) {
  SCOPED_TRACE(testing::Message() << shape.tokens << " tokens, " << shape.kv_heads << " x "
                                  << shape.head_dim);
  const std::vector<float> v = make_v(shape, value);
  const Result expected = expected_of(shape, v);
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    test::each_device([&](const Context& context, const std::string& device) {
      int ran = 0;
      for (const auto& implementation : quantize_values_implementations()) {
        if (refuse_device(implementation.device, context) != nullptr) continue;
        SCOPED_TRACE(std::string(implementation.name) + " at " + device);
        const Result found = run(implementation, shape, v, dtype, context);
        EXPECT_EQ(found.values, expected.values);
        expect_same(found.scale, expected.scale, "scale");
        expect_same(found.mean, expected.mean, "mean");
        ++ran;
      }
      EXPECT_GE(ran, 1) << device;
    });
  }
}

TEST(QuantizeValues, EveryImplementationFollowsTheFormula) {
  std::mt19937 random(5);
  std::normal_distribution<float> normal;
  const auto value = [&](int64_t, int64_t c) {
    return normal(random) * (c % 7 == 0 ? 20.0f : 1.0f) + static_cast<float>(c % 5) - 2.0f;
  };
  for (const Shape& shape :
       {Shape{1, 1, 64, 0}, Shape{31, 2, 64, 8}, Shape{33, 3, 40, 1}, Shape{128, 1, 128, 0},
        Shape{129, 2, 256, 16}, Shape{300, 1, 72, 0}, Shape{70, 1, 300, 3}})
    check(shape, value);
}

TEST(QuantizeValues, ZerosConstantsAndDamage) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float infinite = std::numeric_limits<float>::infinity();
  std::mt19937 random(6);
  std::normal_distribution<float> normal;
  check({50, 2, 64, 0}, [&](int64_t s, int64_t c) {
    const float x = normal(random);
    if (c % 6 == 0) return 0.0f;
    if (c % 6 == 1) return 3.25f;
    if (c % 6 == 2) return s == 17 ? nan : x;
    if (c % 6 == 3) return s == 40 ? -infinite : x;
    if (c % 6 == 4) return s == 0 ? infinite : s == 1 ? -infinite : x;
    return 1e-38f * x;
  });
}

// Four tokens of one channel, by hand: mean 3, x = -3, -1, 1, 3, scale 3 / 127.
TEST(QuantizeValues, ByHand) {
  const Shape shape{4, 1, 1, 0};
  const std::vector<float> v = make_v(shape, [](int64_t s, int64_t) { return 2.0f * s; });
  const Result r = run(quantize_values_implementations().back(), shape, v, DType::kF32, Context{});
  EXPECT_EQ(r.mean[0], 3.0f);
  EXPECT_EQ(r.scale[0], 3.0f / 127.0f);
  std::vector<int8_t> expected(kS8ValueKeys, 0);
  expected[0] = -127;
  expected[1] = -42;
  expected[4] = 42;  // bytes 2 and 3 are of keys 8 and 9
  expected[5] = 127;
  EXPECT_EQ(r.values, expected);
}

TEST(QuantizeValues, EveryKeyHasOneByte) {
  std::vector<int> seen(kS8ValueKeys, 0);
  for (int position = 0; position < kS8ValueKeys; ++position)
    ++seen[static_cast<size_t>(s8_value_key(position))];
  EXPECT_EQ(seen, std::vector<int>(kS8ValueKeys, 1));
}

TEST(QuantizeValues, RefusesWhatItCannotDo) {
  float x = 0.0f;
  int8_t q[kS8ValueKeys];
  const QuantizeValues good{.v = &x,
                            .ldv = 1,
                            .tokens = 1,
                            .kv_heads = 1,
                            .head_dim = 1,
                            .out = {.values = q, .scale = &x, .mean = &x}};
  const auto message = [&](auto&& change) {
    QuantizeValues op = good;
    change(op);
    const Status status = quantize_values(Context{}, op);
    return status ? std::string() : status.error().message;
  };
  const auto says = [&](const char* part, auto&& change) {
    EXPECT_NE(message(change).find(part), std::string::npos) << message(change);
  };
  EXPECT_EQ(message([](QuantizeValues&) {}), "");
  says("0 tokens", [](QuantizeValues& op) { op.tokens = 0; });
  says("0 heads x 1", [](QuantizeValues& op) { op.kv_heads = 0; });
  says("type F16", [](QuantizeValues& op) { op.dtype = DType::kF16; });
  says("token stride 0", [](QuantizeValues& op) { op.ldv = 0; });
  says("must not be null", [](QuantizeValues& op) { op.out.mean = nullptr; });
}

}  // namespace
}  // namespace intaglio
