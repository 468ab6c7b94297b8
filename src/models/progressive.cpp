#include "models/progressive.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "io/printable.h"
#include "models/model.h"

namespace intaglio {
namespace {

template <typename T>
bool parse_whole_text(std::string_view text, T& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size();
}

// Of a picture of `steps` steps.
Expected<int64_t> parse_half_steps(std::string_view text, int64_t steps) {
  if (text.empty() || text == "off") return 0;
  int64_t count = 0;
  if (parse_whole_text(text, count)) {
    if (count >= 0 && count < steps) return count;
    return make_error(ErrorCode::kInvalidArgument,
                      "progressive: {} steps at half size of a picture of {}; expected fewer, the "
                      "last step runs at full size",
                      count, steps);
  }
  double share = 0.0;
  if (!parse_whole_text(text, share) || !(share > 0.0 && share < 1.0))
    return make_error(ErrorCode::kInvalidArgument,
                      "progressive: expected off, a number of first steps or a share of them "
                      "between 0 and 1; found \"{}\"",
                      printable(text, 60));
  if (steps == 1)
    return make_error(ErrorCode::kInvalidArgument,
                      "progressive: {} of a picture of 1 step; expected 2 steps or more", text);
  const auto nearest = static_cast<int64_t>(std::llround(share * static_cast<double>(steps)));
  return std::clamp<int64_t>(nearest, 1, steps - 1);
}

}  // namespace

Expected<int64_t> choose_half_steps(const PictureRequest& r, int64_t pixels_per_token) {
  INTAGLIO_ASSIGN(const int64_t half_steps, parse_half_steps(r.progressive, r.steps));
  if (half_steps > 0 && r.init)
    return make_error(ErrorCode::kInvalidArgument,
                      "progressive: a picture that begins from another has no first steps at half "
                      "size; expected off, found \"{}\"",
                      printable(r.progressive, 60));
  const int64_t unit = 2 * pixels_per_token;
  if (half_steps == 0 || (r.width % unit == 0 && r.height % unit == 0)) return half_steps;
  const auto nearest = [&](int64_t side) {
    return std::max<int64_t>(1, (side + pixels_per_token) / unit) * unit;
  };
  return make_error(ErrorCode::kInvalidArgument,
                    "progressive: half of {}x{} pixels is not a whole number of tokens; expected "
                    "sides that are multiples of {}, such as {}x{}",
                    r.width, r.height, unit, nearest(r.width), nearest(r.height));
}

void begin_at_half_size(int64_t half_steps, Sampling& sampling) {
  const auto count = static_cast<size_t>(half_steps);
  sampling.half_steps = half_steps;
  if (count == 0) return;
  std::vector<double> levels;
  for (size_t i = 0; i <= count; ++i) levels.push_back(half_size_level(sampling.noise_level(i)));
  for (size_t i = 0; i < count; ++i) {
    SamplingStep& step = sampling.steps[i];
    step.time = static_cast<float>(sampling.time_is_noise ? levels[i] : 1.0 - levels[i]);
    step.delta = std::copysign(static_cast<float>(levels[i] - levels[i + 1]), step.delta);
  }
  if (!sampling.mask) return;
  for (size_t pass = 0; pass < sampling.mask->passes.size(); ++pass) {
    const std::vector<size_t> steps = active_steps(sampling, pass);
    const auto first = std::lower_bound(steps.begin(), steps.end(), count);
    if (first != steps.end()) sampling.mask->passes[pass][*first] = PassWork::kCompute;
  }
}

}  // namespace intaglio
