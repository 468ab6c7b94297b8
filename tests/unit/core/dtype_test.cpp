#include "core/dtype.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <set>
#include <string>
#include <vector>

namespace intaglio::test {
namespace {

// A 16-bit float by the definition of IEEE 754: sign, `kExponentBits` of exponent, the rest
// mantissa. In double, which holds every value.
template <int kExponentBits>
struct Format {
  static constexpr int kMantissaBits = 15 - kExponentBits;
  static constexpr int kBias = (1 << (kExponentBits - 1)) - 1;
  static constexpr int kMaxExponent = (1 << kExponentBits) - 1;

  static double value(uint16_t bits) {
    const int exponent = (bits >> kMantissaBits) & kMaxExponent;
    const int mantissa = bits & ((1 << kMantissaBits) - 1);
    const double sign = (bits >> 15) != 0 ? -1.0 : 1.0;
    if (exponent == kMaxExponent)
      return mantissa != 0 ? std::nan("") : sign * std::numeric_limits<double>::infinity();
    if (exponent == 0) return sign * std::ldexp(mantissa, 1 - kBias - kMantissaBits);
    return sign * std::ldexp((1 << kMantissaBits) + mantissa, exponent - kBias - kMantissaBits);
  }

  // What follows the largest finite value if the exponent went on: rounding takes infinity for it.
  static double value_or_next(uint16_t magnitude) {
    return magnitude == kMaxExponent << kMantissaBits ? std::ldexp(1.0, kMaxExponent - kBias)
                                                      : value(magnitude);
  }
};

using Half = Format<5>;
using Brain = Format<8>;

template <typename T, typename F>
void expect_every_value_exact() {
  for (uint32_t i = 0; i < 65536; ++i) {
    T element;
    element.bits = static_cast<uint16_t>(i);
    const float found = static_cast<float>(element);
    const double expected = F::value(element.bits);
    if (std::isnan(expected)) {
      ASSERT_TRUE(std::isnan(found)) << i;
      // NaN stays NaN of the same sign on the way back.
      const T back(found);
      ASSERT_TRUE(std::isnan(F::value(back.bits))) << i;
      ASSERT_EQ(back.bits >> 15, i >> 15) << i;
      continue;
    }
    ASSERT_EQ(static_cast<double>(found), expected) << i;
    ASSERT_EQ(std::signbit(found), (i >> 15) != 0) << i;
    ASSERT_EQ(T(found).bits, i) << "there and back";
  }
}

TEST(Float16, EveryValue) { expect_every_value_exact<Float16, Half>(); }
TEST(BFloat16, EveryValue) { expect_every_value_exact<BFloat16, Brain>(); }

// Between each pair of neighbours: just below, at and just above the middle. The middle goes to the
// even one.
template <typename T, typename F>
void expect_rounding_between_neighbours() {
  constexpr uint16_t kInfinity = F::kMaxExponent << F::kMantissaBits;
  for (uint16_t low = 0; low < kInfinity; ++low) {
    const auto high = static_cast<uint16_t>(low + 1);
    const double exact = (F::value(low) + F::value_or_next(high)) / 2;
    const auto middle = static_cast<float>(exact);
    // bf16 subnormals have neighbours whose middle is still a float: 2^-134 is.
    ASSERT_EQ(static_cast<double>(middle), exact) << low;
    const uint16_t even = low % 2 == 0 ? low : high;
    const float below = std::nextafter(middle, 0.0f);
    const float above = std::nextafter(middle, std::numeric_limits<float>::infinity());
    for (const uint16_t sign : {0, 0x8000}) {
      const float factor = sign != 0 ? -1.0f : 1.0f;
      ASSERT_EQ(T(factor * middle).bits, sign | even) << low;
      ASSERT_EQ(T(factor * below).bits, sign | low) << low;
      ASSERT_EQ(T(factor * above).bits, sign | high) << low;
    }
  }
}

TEST(Float16, RoundsToNearestEven) { expect_rounding_between_neighbours<Float16, Half>(); }
TEST(BFloat16, RoundsToNearestEven) { expect_rounding_between_neighbours<BFloat16, Brain>(); }

template <typename T, typename F>
void expect_nearest_of_random_floats() {
  std::mt19937 random(5);
  for (int i = 0; i < 200'000; ++i) {
    const float value = std::bit_cast<float>(static_cast<uint32_t>(random()));
    const uint16_t found = T(value).bits;
    if (std::isnan(value)) {
      ASSERT_TRUE(std::isnan(F::value(found)));
      continue;
    }
    const double magnitude = std::fabs(static_cast<double>(value));
    const uint16_t bits = found & 0x7fff;
    ASSERT_EQ(found >> 15, std::signbit(value) ? 1 : 0);
    if (std::isinf(value)) {
      ASSERT_TRUE(std::isinf(F::value(found)));
      continue;
    }
    // No neighbour is nearer.
    const double error = std::fabs(F::value_or_next(bits) - magnitude);
    if (bits > 0 && !std::isinf(F::value(bits))) {
      ASSERT_LE(error, std::fabs(F::value(static_cast<uint16_t>(bits - 1)) - magnitude)) << value;
    }
    if (!std::isinf(F::value(bits))) {
      ASSERT_LE(error, std::fabs(F::value_or_next(static_cast<uint16_t>(bits + 1)) - magnitude))
          << value;
    } else {
      ASSERT_GE(magnitude, (F::value_or_next(bits) + F::value(static_cast<uint16_t>(bits - 1))) / 2)
          << value;
    }
  }
}

TEST(Float16, NearestOfRandomFloats) { expect_nearest_of_random_floats<Float16, Half>(); }
TEST(BFloat16, NearestOfRandomFloats) { expect_nearest_of_random_floats<BFloat16, Brain>(); }

TEST(Float16, KnownValues) {
  EXPECT_EQ(Float16(1.0f).bits, 0x3c00);
  EXPECT_EQ(Float16(-2.0f).bits, 0xc000);
  EXPECT_EQ(Float16(65504.0f).bits, 0x7bff);
  EXPECT_EQ(Float16(65519.996f).bits, 0x7bff);
  EXPECT_EQ(Float16(65520.0f).bits, 0x7c00) << "overflow gives infinity";
  EXPECT_EQ(Float16(std::ldexp(1.0f, -24)).bits, 0x0001);
  EXPECT_EQ(Float16(std::ldexp(1.0f, -25)).bits, 0x0000)
      << "half of the smallest goes to zero, the even one";
  EXPECT_EQ(Float16(-0.0f).bits, 0x8000);
}

TEST(BFloat16, KnownValues) {
  EXPECT_EQ(BFloat16(1.0f).bits, 0x3f80);
  EXPECT_EQ(BFloat16(1.00390625f).bits, 0x3f80) << "1 + 2^-8 is in the middle; 1 is even";
  EXPECT_EQ(BFloat16(1.01171875f).bits, 0x3f82)
      << "1 + 3 * 2^-8 is in the middle; 1 + 2^-6 is even";
  EXPECT_EQ(BFloat16(std::numeric_limits<float>::max()).bits, 0x7f80);
  EXPECT_EQ(BFloat16(std::bit_cast<float>(0x7f800001u)).bits, 0x7fc0)
      << "a NaN with low bits only must not become infinity";
}

TEST(DType, NamesAndSizes) {
  const std::pair<const char*, size_t> expected[] = {
      {"F64", 8},     {"F32", 4},     {"F16", 2}, {"BF16", 2}, {"I64", 8},
      {"I32", 4},     {"I16", 2},     {"I8", 1},  {"U8", 1},   {"BOOL", 1},
      {"F8_E4M3", 1}, {"F8_E5M2", 1}, {"U16", 2}, {"U32", 4},  {"U64", 8}};
  std::set<DType> seen;
  for (const auto& [name, size] : expected) {
    const auto dtype = dtype_from_name(name);
    ASSERT_TRUE(dtype) << name;
    EXPECT_EQ(dtype_name(*dtype), name);
    EXPECT_EQ(dtype_size(*dtype), size) << name;
    seen.insert(*dtype);
  }
  EXPECT_EQ(seen.size(), std::size(expected));
  for (const char* name : {"", "f32", "F32 ", "F8", "U128"})
    EXPECT_FALSE(dtype_from_name(name)) << name;
}

TEST(DType, OfElementTypes) {
  EXPECT_EQ(kDTypeOf<float>, DType::kF32);
  EXPECT_EQ(kDTypeOf<BFloat16>, DType::kBF16);
  EXPECT_EQ(kDTypeOf<Float16>, DType::kF16);
  EXPECT_EQ(kDTypeOf<int8_t>, DType::kI8);
}

template <typename T>
void expect_converted(const std::vector<float>& values) {
  // From an address that no element type is aligned to.
  std::vector<unsigned char> bytes(1 + values.size() * sizeof(T));
  for (size_t i = 0; i < values.size(); ++i) {
    const T element(values[i]);
    std::memcpy(bytes.data() + 1 + i * sizeof(T), &element, sizeof(T));
  }
  std::vector<float> found(values.size() + 1, -7.0f);
  convert_to_f32(bytes.data() + 1, kDTypeOf<T>, found.data(), values.size());
  for (size_t i = 0; i < values.size(); ++i)
    EXPECT_EQ(found[i], values[i]) << dtype_name(kDTypeOf<T>) << " " << i;
  EXPECT_EQ(found.back(), -7.0f) << "one past the end";
}

TEST(DType, ConvertsUnalignedFloats) {
  const std::vector<float> values{0.0f, 1.0f, -2.5f, 0.15625f,
                                  240.0f};  // exact in every float type
  expect_converted<double>(values);
  expect_converted<float>(values);
  expect_converted<Float16>(values);
  expect_converted<BFloat16>(values);
}

TEST(DType, WhichAreFloats) {
  for (const DType dtype : {DType::kF64, DType::kF32, DType::kF16, DType::kBF16})
    EXPECT_TRUE(is_float(dtype)) << dtype_name(dtype);
  for (const DType dtype :
       {DType::kI64, DType::kI32, DType::kI16, DType::kI8, DType::kU8, DType::kBool, DType::kF8E4M3,
        DType::kF8E5M2, DType::kU16, DType::kU32, DType::kU64}) {
    EXPECT_FALSE(is_float(dtype)) << dtype_name(dtype);
  }
}

}  // namespace
}  // namespace intaglio::test
