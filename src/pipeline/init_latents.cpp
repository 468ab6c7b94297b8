#include "pipeline/init_latents.h"

#include <utility>

namespace intaglio {

InitLatents::InitLatents(Parts parts)
    : clean_(std::move(parts.clean)), noise_(std::move(parts.noise)) {
  if (parts.mask.empty()) return;
  drawn_.resize(clean_.size());
  const int64_t columns = 2 * parts.grid_w;
  const int64_t tokens = static_cast<int64_t>(parts.mask.size()) / 4;
  const int64_t planes = static_cast<int64_t>(clean_.size()) / tokens / 4;
  for (int64_t i = 0; i < static_cast<int64_t>(parts.mask.size()); ++i) {
    const int64_t y = i / columns, x = i % columns;
    const int64_t token = y / 2 * parts.grid_w + x / 2;
    for (int64_t plane = 0; plane < planes; ++plane) {
      const int64_t channel = autoencoder::packed_channel(parts.packing, y, x, plane, planes);
      drawn_[static_cast<size_t>(token * 4 * planes + channel)] =
          parts.mask[static_cast<size_t>(i)];
    }
  }
}

std::vector<float> InitLatents::at(double level) const {
  const auto noisy = static_cast<float>(level), clean = static_cast<float>(1.0 - level);
  std::vector<float> latents(clean_.size());
  for (size_t i = 0; i < latents.size(); ++i) latents[i] = noisy * noise_[i] + clean * clean_[i];
  return latents;
}

void InitLatents::keep_given(double level, std::span<float> latents) const {
  if (!is_masked()) return;
  const std::vector<float> given = at(level);
  for (size_t i = 0; i < latents.size(); ++i) {
    if (drawn_[i] == 1.0f) continue;
    latents[i] = drawn_[i] * latents[i] + (1.0f - drawn_[i]) * given[i];
  }
}

}  // namespace intaglio
