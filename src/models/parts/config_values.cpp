#include "models/parts/config_values.h"

#include <algorithm>
#include <vector>

namespace intaglio {

Expected<float> read_eps(const JsonConfig& json, const char* key, double fallback) {
  INTAGLIO_ASSIGN(const double eps, json.number_or(key, fallback));
  if (eps >= 0.0 && eps < 1.0) return static_cast<float>(eps);
  return make_error(ErrorCode::kBadFormat, "{}{}: expected a number in [0, 1), found {}",
                    json.where(), key, eps);
}

Expected<std::array<int64_t, 3>> read_rope_axes(const JsonConfig& json, const char* key,
                                                int64_t head_dim, const char* what) {
  INTAGLIO_ASSIGN(const std::vector<int64_t> axes, json.integers(key, 0, 1024, 3));
  const bool fits =
      axes.size() == 3 && axes[0] + axes[1] + axes[2] == head_dim &&
      std::all_of(axes.begin(), axes.end(), [](int64_t channels) { return channels % 2 == 0; });
  if (fits) return std::array<int64_t, 3>{axes[0], axes[1], axes[2]};
  return make_error(ErrorCode::kBadFormat,
                    "{}{}: expected three even numbers that add up to the {} channels of a head "
                    "({})",
                    json.where(), key, head_dim, what);
}

Expected<double> read_theta(const JsonConfig& json) {
  INTAGLIO_ASSIGN(const double theta, json.number("rope_theta"));
  if (theta > 0.0) return theta;
  return make_error(ErrorCode::kBadFormat, "{}rope_theta: expected a positive number, found {}",
                    json.where(), theta);
}

Expected<std::array<int64_t, 3>> read_sections(const JsonConfig& json, int64_t head_dim,
                                               const char* head_key) {
  INTAGLIO_ASSIGN(const std::vector<int64_t> section, json.integers("mrope_section", 0, 1024, 3));
  if (section.size() != 3) {
    return make_error(ErrorCode::kBadFormat, "{}mrope_section has {} entries; expected 3",
                      json.where(), section.size());
  }
  const int64_t frequencies = head_dim / 2;
  const bool fits = section[0] + section[1] + section[2] <= frequencies &&
                    (section[1] == 0 || 3 * section[1] - 2 < frequencies) &&
                    (section[2] == 0 || 3 * section[2] - 1 < frequencies);
  if (!fits) {
    return make_error(ErrorCode::kBadFormat,
                      "{}mrope_section [{}, {}, {}] does not fit the {} frequencies of a head ({} "
                      "is {})",
                      json.where(), section[0], section[1], section[2], frequencies, head_key,
                      head_dim);
  }
  return std::array<int64_t, 3>{section[0], section[1], section[2]};
}

}  // namespace intaglio
