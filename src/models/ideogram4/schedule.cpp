#include "models/ideogram4/schedule.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <span>

namespace intaglio::ideogram4 {
namespace {

// Coefficients of AS 241, highest power first.
constexpr std::array<double, 8> kCentralNumerator{2.5090809287301226727e3, 3.3430575583588128105e4,
                                                  6.7265770927008700853e4, 4.5921953931549871457e4,
                                                  1.3731693765509461125e4, 1.9715909503065514427e3,
                                                  1.3314166789178437745e2, 3.3871328727963666080e0};
constexpr std::array<double, 8> kCentralDenominator{
    5.2264952788528545610e3, 2.8729085735721942674e4,
    3.9307895800092710610e4, 2.1213794301586595867e4,
    5.3941960214247511077e3, 6.8718700749205790830e2,
    4.2313330701600911252e1, 1.0};
constexpr std::array<double, 8> kMiddleNumerator{
    7.7454501427834140764e-4, 2.27238449892691845833e-2, 2.41780725177450611770e-1,
    1.27045825245236838258e0, 3.64784832476320460504e0,  5.76949722146069140550e0,
    4.63033784615654529590e0, 1.42343711074968357734e0};
constexpr std::array<double, 8> kMiddleDenominator{
    1.05075007164441684324e-9, 5.47593808499534494600e-4,
    1.51986665636164571966e-2, 1.48103976427480074590e-1,
    6.89767334985100004550e-1, 1.67638483018380384940e0,
    2.05319162663775882187e0,  1.0};
constexpr std::array<double, 8> kTailNumerator{2.01033439929228813265e-7, 2.71155556874348757815e-5,
                                               1.24266094738807843860e-3, 2.65321895265761230930e-2,
                                               2.96560571828504891230e-1, 1.78482653991729133580e0,
                                               5.46378491116411436990e0,  6.65790464350110377720e0};
constexpr std::array<double, 8> kTailDenominator{
    2.04426310338993978564e-15, 1.42151175831644588870e-7,
    1.84631831751005468180e-5,  7.86869131145613259100e-4,
    1.48753612908506148525e-2,  1.36929880922735805310e-1,
    5.99832206555887937690e-1,  1.0};

double polynomial(std::span<const double> coefficients, double x) {
  double value = 0.0;
  for (double c : coefficients) value = value * x + c;
  return value;
}

}  // namespace

double normal_quantile(double p) {
  if (p <= 0.0) return -std::numeric_limits<double>::infinity();
  if (p >= 1.0) return std::numeric_limits<double>::infinity();
  const double q = p - 0.5;
  if (std::abs(q) <= 0.425) {
    const double r = 0.180625 - q * q;
    return q * polynomial(kCentralNumerator, r) / polynomial(kCentralDenominator, r);
  }
  const double r = std::sqrt(-std::log(q < 0.0 ? p : 1.0 - p));
  const double value =
      r <= 5.0 ? polynomial(kMiddleNumerator, r - 1.6) / polynomial(kMiddleDenominator, r - 1.6)
               : polynomial(kTailNumerator, r - 5.0) / polynomial(kTailDenominator, r - 5.0);
  return q < 0.0 ? -value : value;
}

std::vector<float> schedule_sigmas(const ScheduleOptions& options) {
  constexpr double kMinLogSnr = -9.0;
  constexpr double kMaxLogSnr = 7.5;
  const double t_min = 1.0 / (1.0 + std::exp(-kMinLogSnr));
  const double t_max = 1.0 / (1.0 + std::exp(-kMaxLogSnr));
  const double pixels = static_cast<double>(options.width) * static_cast<double>(options.height);
  const double mu = options.mu + 0.5 * std::log(pixels / (512.0 * 512.0));
  const auto steps = static_cast<size_t>(options.steps);
  std::vector<float> sigmas(steps);
  for (size_t i = 0; i < steps; ++i) {
    const double u = static_cast<double>(steps - i) / static_cast<double>(steps);
    const double z = mu + options.std * normal_quantile(u);
    const double t = std::clamp(1.0 - 1.0 / (1.0 + std::exp(-z)), t_min, t_max);
    sigmas[i] = static_cast<float>(1.0 - t);
  }
  return sigmas;
}

}  // namespace intaglio::ideogram4
