#include "models/smoothing.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "core/round_floats.h"

namespace intaglio {
namespace {

float power_of_two(float value) { return std::exp2(std::nearbyint(std::log2(value))); }

}  // namespace

std::vector<float> smoothing(std::span<const float> x_absmax, std::span<const float> w_absmax,
                             double alpha) {
  std::vector<double> logs(x_absmax.size(), 0.0);
  double sum = 0.0;
  int64_t count = 0;
  for (size_t c = 0; c < logs.size(); ++c) {
    if (x_absmax[c] == 0.0f || w_absmax[c] == 0.0f) continue;
    logs[c] = alpha * std::log(double{x_absmax[c]}) - (1.0 - alpha) * std::log(double{w_absmax[c]});
    sum += logs[c];
    ++count;
  }
  const double mean = count > 0 ? sum / static_cast<double>(count) : 0.0;
  std::vector<float> smooth(logs.size(), 1.0f);
  for (size_t c = 0; c < logs.size(); ++c) {
    if (x_absmax[c] == 0.0f || w_absmax[c] == 0.0f) continue;
    smooth[c] = static_cast<float>(std::exp(logs[c] - mean));
  }
  return smooth;
}

std::string FoldedSmoothing::digest() const {
  std::string text;
  for (const Values* const values : {&columns, &rows, &vectors}) {
    for (const auto& [name, numbers] : *values) {
      const std::string_view bytes(reinterpret_cast<const char*>(numbers.data()),
                                   numbers.size() * sizeof(float));
      text += fmt::format("{} {:016x}\n", name, std::hash<std::string_view>{}(bytes));
    }
    text += "\n";
  }
  return text;
}

void fold_into_vector(std::span<const std::string> names, std::span<const float> smooth,
                      const std::string& vector, const TensorView& stored,
                      FoldedSmoothing& folded) {
  const size_t k = smooth.size();
  std::vector<float> weight(k), divided(k), exact(k);
  convert_to_f32(stored.data, stored.dtype, weight.data(), k);
  for (size_t c = 0; c < k; ++c) divided[c] = weight[c] / smooth[c];
  std::vector<std::byte> rounded(k * dtype_size(stored.dtype));
  convert_from_f32(divided.data(), stored.dtype, rounded.data(), k);
  convert_to_f32(rounded.data(), stored.dtype, divided.data(), k);
  for (size_t c = 0; c < k; ++c) {
    exact[c] = weight[c] / divided[c];
    if (std::isnormal(exact[c])) continue;
    divided[c] = weight[c];
    exact[c] = 1.0f;
  }
  for (const std::string& name : names) folded.columns[name] = exact;
  folded.vectors[vector] = std::move(divided);
}

void fold_into_rows(std::span<const std::string> names, std::span<const float> smooth,
                    const std::string& linear, bool float_rows, FoldedSmoothing& folded) {
  std::vector<float> values(smooth.begin(), smooth.end());
  if (float_rows)
    for (float& value : values) value = power_of_two(value);
  for (const std::string& name : names) folded.columns[name] = values;
  folded.rows[linear] = std::move(values);
}

bool is_smoothed(const Checkpoint& checkpoint) {
  return std::any_of(checkpoint.files().begin(), checkpoint.files().end(), [](const auto& file) {
    return file->metadata().contains(std::string(kSmoothedKey));
  });
}

}  // namespace intaglio
