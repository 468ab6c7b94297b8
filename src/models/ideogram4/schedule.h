// Noise levels of the sampler.
#pragma once

#include <cstdint>
#include <vector>

namespace intaglio::ideogram4 {

struct ScheduleOptions {
  int64_t width = 0, height = 0;  // pixels
  int64_t steps = 0;
  double mu = 0.0, std = 1.5;
};

// Inverse of the standard normal distribution function (Wichura, AS 241, PPND16; relative error
// about 1e-16). Infinite at 0 and 1.
double normal_quantile(double p);

// The model's own sigmas, `steps` values, descending from near 1:
//   mu' = mu + 0.5 ln(W H / 512^2);  t(u) = 1 - sigmoid(mu' + std * quantile(u)), clamped to [1 / (1 + e^9), 1 / (1 + e^-7.5)],
//   u = 0, 1 / steps, .., 1;  sigmas = reverse(1 - t) without its last.
std::vector<float> schedule_sigmas(const ScheduleOptions& options);

}  // namespace intaglio::ideogram4
