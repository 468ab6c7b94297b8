#include "core/philox.h"

#include <bit>
#include <cmath>

namespace intaglio {
namespace {

// ln(x) for x in (0, 1]: x = m * 2^e with m in [sqrt(1/2), sqrt(2)), ln m = 2 atanh((m - 1) / (m +
// 1)). Error below 1e-15.
double portable_log(double x) {
  const auto bits = std::bit_cast<uint64_t>(x);
  auto exponent = static_cast<int>((bits >> 52) & 0x7ff) - 1023;
  double mantissa = std::bit_cast<double>((bits & 0x000fffffffffffffULL) | 0x3ff0000000000000ULL);
  if (mantissa > 1.4142135623730951) {
    mantissa *= 0.5;
    ++exponent;
  }
  const double s = (mantissa - 1.0) / (mantissa + 1.0);
  const double s2 = s * s;
  double series = 0.0;
  for (int n = 21; n >= 1; n -= 2) series = series * s2 + 1.0 / n;
  return 2.0 * s * series + exponent * 0.6931471805599453;
}

struct SinCos {
  double sin, cos;
};

// sin and cos of 2 pi u for u in [0, 1): reduced to an eighth of the circle, then Taylor series.
// Error below 1e-15.
SinCos portable_sincos_2pi(double u) {
  const double eighths = u * 8.0;
  const auto octant = static_cast<int>(eighths);
  const double x =
      ((octant & 1) != 0 ? octant + 1 - eighths : eighths - octant) * 0.7853981633974483;
  const double x2 = x * x;
  double sine = 0.0;
  for (int n = 17; n >= 3; n -= 2) sine = (sine + 1.0) * (-x2 / (n * (n - 1)));
  sine = x * (sine + 1.0);
  double cosine = 0.0;
  for (int n = 18; n >= 2; n -= 2) cosine = (cosine + 1.0) * (-x2 / (n * (n - 1)));
  cosine += 1.0;
  switch (octant) {
    case 0:
      return {sine, cosine};
    case 1:
      return {cosine, sine};
    case 2:
      return {cosine, -sine};
    case 3:
      return {sine, -cosine};
    case 4:
      return {-sine, -cosine};
    case 5:
      return {-cosine, -sine};
    case 6:
      return {-cosine, sine};
    default:
      return {-sine, cosine};
  }
}

std::array<float, 4> normals_of_counter(uint64_t seed, uint64_t counter) {
  const auto words =
      philox4x32({static_cast<uint32_t>(counter), static_cast<uint32_t>(counter >> 32), 0, 0},
                 {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)});
  std::array<float, 4> result{};
  for (size_t pair = 0; pair < 2; ++pair) {
    const double u1 = (words[2 * pair] + 1.0) * 0x1p-32;  // (0, 1]
    const double u2 = words[2 * pair + 1] * 0x1p-32;      // [0, 1)
    const double radius = std::sqrt(-2.0 * portable_log(u1));
    const SinCos angle = portable_sincos_2pi(u2);
    result[2 * pair] = static_cast<float>(radius * angle.cos);
    result[2 * pair + 1] = static_cast<float>(radius * angle.sin);
  }
  return result;
}

}  // namespace

std::array<uint32_t, 4> philox4x32(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key) {
  constexpr uint64_t kMultiplier0 = 0xD2511F53u;
  constexpr uint64_t kMultiplier1 = 0xCD9E8D57u;
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = kMultiplier0 * counter[0];
    const uint64_t product1 = kMultiplier1 * counter[2];
    counter = {static_cast<uint32_t>(product1 >> 32) ^ counter[1] ^ key[0],
               static_cast<uint32_t>(product1),
               static_cast<uint32_t>(product0 >> 32) ^ counter[3] ^ key[1],
               static_cast<uint32_t>(product0)};
    key[0] += 0x9E3779B9u;
    key[1] += 0xBB67AE85u;
  }
  return counter;
}

float normal_at(uint64_t seed, uint64_t index) {
  return normals_of_counter(seed, index / 4)[index % 4];
}

void fill_normal(uint64_t seed, float* out, int64_t count, int64_t first) {
  for (int64_t i = 0; i < count; i += 4) {
    const std::array<float, 4> values =
        normals_of_counter(seed, static_cast<uint64_t>(first + i) / 4);
    for (int64_t j = 0; j < 4 && i + j < count; ++j) out[i + j] = values[static_cast<size_t>(j)];
  }
}

}  // namespace intaglio
