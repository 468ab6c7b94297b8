#include "quant/rotation.h"

#include <cmath>

namespace intaglio {

double rotation_entry(int64_t group, int64_t i, int64_t j) {
  double sign = 1.0;
  for (int64_t left = group; left > 1; left /= 4, i /= 4, j /= 4) {
    if (i % 4 + j % 4 == 3) sign = -sign;
  }
  return sign / std::sqrt(static_cast<double>(group));
}

void rotate_row(float* x, int64_t cols, int64_t group) {
  for (int64_t stride = 1; stride < group; stride *= 4) {
    for (int64_t block = 0; block < cols; block += 4 * stride) {
      for (int64_t offset = block; offset < block + stride; ++offset) {
        float* p = x + offset;
        const float x0 = p[0], x1 = p[stride], x2 = p[2 * stride], x3 = p[3 * stride];
        const float s = ((x0 + x1) + (x2 + x3)) * 0.5f;
        p[0] = s - x3;
        p[stride] = s - x2;
        p[2 * stride] = s - x1;
        p[3 * stride] = s - x0;
      }
    }
  }
}

void smooth_row(const float* x, const float* smooth, int64_t cols, float* y) {
  for (int64_t c = 0; c < cols; ++c) y[c] = x[c] / smooth[c];
}

}  // namespace intaglio
