// Values that configs of several models hold, read and checked.
#pragma once

#include <array>
#include <cstdint>

#include "io/json_config.h"

namespace intaglio {

inline constexpr int64_t kMaxWidth = 1 << 20;
inline constexpr int64_t kMaxLayers = 4096;

// A number in [0, 1).
Expected<float> read_eps(const JsonConfig& json, const char* key, double fallback);

// Channels of a head by axis of a position: three even numbers that add up to `head_dim`. `what`:
// how the config says the head's size.
Expected<std::array<int64_t, 3>> read_rope_axes(const JsonConfig& json, const char* key,
                                                int64_t head_dim, const char* what);

// "rope_theta", positive.
Expected<double> read_theta(const JsonConfig& json);

// "mrope_section". Each axis must find all frequencies of its section among those of a head: h has
// 1, 4, 7, .., w 2, 5, 8, .., t what they leave.
Expected<std::array<int64_t, 3>> read_sections(const JsonConfig& json, int64_t head_dim,
                                               const char* head_key);

}  // namespace intaglio
