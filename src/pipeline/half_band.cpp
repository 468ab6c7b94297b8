#include "pipeline/half_band.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/parallel.h"
#include "models/autoencoder/decoder.h"

namespace intaglio {
namespace {

// The first `frequencies` rows of the orthonormal DCT (type II) of `size` values.
std::vector<double> dct_rows(int64_t frequencies, int64_t size) {
  std::vector<double> rows(static_cast<size_t>(frequencies * size));
  for (int64_t k = 0; k < frequencies; ++k) {
    const double scale = std::sqrt((k == 0 ? 1.0 : 2.0) / static_cast<double>(size));
    for (int64_t i = 0; i < size; ++i) {
      // The angle's place in a whole turn of 4 size steps, so that large products lose nothing.
      const auto place = static_cast<double>((2 * i + 1) * k % (4 * size));
      rows[static_cast<size_t>(k * size + i)] =
          scale * std::cos(std::numbers::pi * place / static_cast<double>(2 * size));
    }
  }
  return rows;
}

// c [m, n] = a [m, k] b [k, n], row by row, so that the inner loop runs over neighbours.
void multiply(std::span<const float> a, std::span<const float> b, int64_t k, int64_t n,
              std::vector<float>& c) {
  const int64_t m = static_cast<int64_t>(a.size()) / k;
  c.assign(static_cast<size_t>(m * n), 0.0f);
  for (int64_t i = 0; i < m; ++i) {
    float* const out = c.data() + i * n;
    for (int64_t j = 0; j < k; ++j) {
      const float factor = a[static_cast<size_t>(i * k + j)];
      const float* const row = b.data() + j * n;
      for (int64_t x = 0; x < n; ++x) out[x] += factor * row[x];
    }
  }
}

// Where a plane's values lie among latents of grid_w tokens a row.
struct Places {
  autoencoder::LatentPacking packing;
  int64_t grid_w, planes;
  size_t index(int64_t plane, int64_t y, int64_t x) const {
    const int64_t token = y / 2 * grid_w + x / 2;
    return static_cast<size_t>(token * 4 * planes +
                               autoencoder::packed_channel(packing, y, x, plane, planes));
  }
};

}  // namespace

HalfBand::Matrix HalfBand::half_band(int64_t size) {
  const int64_t half = size / 2;
  const std::vector<double> large = dct_rows(half, size), small = dct_rows(half, half);
  Matrix m{.rows = half, .columns = size, .values = {}, .transposed = {}};
  m.values.resize(static_cast<size_t>(half * size));
  m.transposed.resize(m.values.size());
  std::vector<double> row(static_cast<size_t>(size));
  for (int64_t i = 0; i < half; ++i) {
    std::fill(row.begin(), row.end(), 0.0);
    for (int64_t k = 0; k < half; ++k)
      for (int64_t j = 0; j < size; ++j)
        row[static_cast<size_t>(j)] +=
            small[static_cast<size_t>(k * half + i)] * large[static_cast<size_t>(k * size + j)];
    for (int64_t j = 0; j < size; ++j) {
      const auto value = static_cast<float>(row[static_cast<size_t>(j)]);
      m.values[static_cast<size_t>(i * size + j)] = value;
      m.transposed[static_cast<size_t>(j * half + i)] = value;
    }
  }
  return m;
}

HalfBand::HalfBand(int64_t grid_h, int64_t grid_w, int64_t channels,
                   autoencoder::LatentPacking packing, int threads)
    : channels_(channels), packing_(packing), threads_(threads) {
  down_ = half_band(2 * grid_h);
  across_ = grid_w == grid_h ? down_ : half_band(2 * grid_w);
}

// In every plane, rows x plane x columns: `rows` and the transpose of `columns` are row-major.
std::vector<float> HalfBand::change(std::span<const float> latents, const Side& from,
                                    const Side& to, const std::vector<float>& rows,
                                    const std::vector<float>& columns) const {
  const Places read{packing_, from.width / 2, channels_ / 4},
      written{packing_, to.width / 2, channels_ / 4};
  std::vector<float> out(static_cast<size_t>(to.height * to.width * channels_ / 4));
  parallel_for(threads_, channels_ / 4, 1, [&](int64_t first, int64_t end, int) {
    std::vector<float> plane(static_cast<size_t>(from.height * from.width)), half_way, changed;
    for (int64_t p = first; p < end; ++p) {
      for (int64_t y = 0; y < from.height; ++y)
        for (int64_t x = 0; x < from.width; ++x)
          plane[static_cast<size_t>(y * from.width + x)] = latents[read.index(p, y, x)];
      multiply(rows, plane, from.height, from.width, half_way);
      multiply(half_way, columns, from.width, to.width, changed);
      for (int64_t y = 0; y < to.height; ++y)
        for (int64_t x = 0; x < to.width; ++x)
          out[written.index(p, y, x)] = changed[static_cast<size_t>(y * to.width + x)];
    }
  });
  return out;
}

std::vector<float> HalfBand::low(std::span<const float> latents) const {
  return change(latents, full(), half(), down_.values, across_.transposed);
}

std::vector<float> HalfBand::raised(std::span<const float> latents) const {
  return change(latents, half(), full(), down_.transposed, across_.values);
}

// low^T is linear: one way up for the state and for what the noise has below.
std::vector<float> HalfBand::full_size(std::span<const float> half, std::span<const float> noise,
                                       double level) const {
  const auto of_state = static_cast<float>(2.0 - level), of_noise = static_cast<float>(level);
  std::vector<float> low_band = low(noise);
  for (size_t i = 0; i < low_band.size(); ++i)
    low_band[i] = of_state * half[i] - of_noise * low_band[i];
  std::vector<float> latents = raised(low_band);
  for (size_t i = 0; i < latents.size(); ++i) latents[i] += of_noise * noise[i];
  return latents;
}

}  // namespace intaglio
