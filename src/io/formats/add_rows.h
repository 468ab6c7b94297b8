// A row of a product of two factors.
#pragma once

#include <cstdint>

namespace intaglio {

// out += scale * sum over j of a[j] * rows[j, :].
inline void add_rows(const float* a, const float* rows, int64_t count, int64_t k, float scale,
                     float* out) {
  for (int64_t j = 0; j < count; ++j) {
    const float factor = scale * a[j];
    const float* const row = rows + j * k;
    for (int64_t c = 0; c < k; ++c) out[c] += factor * row[c];
  }
}

}  // namespace intaglio
