#include "pipeline/latent_preview.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "pipeline/pipeline.h"

namespace intaglio {
namespace {

constexpr double kRidge = 1e-3;  // times the tokens: latents have a variance of about 1

// Mean colours of the places of token (row, column), [place, colour], of planar [3, h, w].
template <size_t N>
void mean_colours(const std::vector<float>& planar, int64_t h, int64_t w, int64_t unit, int64_t row,
                  int64_t column, std::array<double, N>& out) {
  constexpr int64_t kPlaces = LatentPreview::kPlaces;
  size_t i = 0;
  for (int64_t place = 0; place < kPlaces * kPlaces; ++place) {
    const int64_t y0 = row * unit + place / kPlaces * unit / kPlaces;
    const int64_t y1 = row * unit + (place / kPlaces + 1) * unit / kPlaces;
    const int64_t x0 = column * unit + place % kPlaces * unit / kPlaces;
    const int64_t x1 = column * unit + (place % kPlaces + 1) * unit / kPlaces;
    for (int64_t colour = 0; colour < 3; ++colour, ++i) {
      double sum = 0;
      for (int64_t y = y0; y < y1; ++y)
        for (int64_t x = x0; x < x1; ++x)
          sum += planar[static_cast<size_t>((colour * h + y) * w + x)];
      out[i] = sum / static_cast<double>((y1 - y0) * (x1 - x0));
    }
  }
}

// A symmetric positive definite [n, n] becomes its Cholesky factor, the lower triangle.
void factorize(std::vector<double>& a, size_t n) {
  for (size_t j = 0; j < n; ++j) {
    for (size_t i = j; i < n; ++i) {
      double sum = a[i * n + j];
      for (size_t k = 0; k < j; ++k) sum -= a[i * n + k] * a[j * n + k];
      a[i * n + j] = i == j ? std::sqrt(sum) : sum / a[j * n + j];
    }
  }
}

}  // namespace

void LatentPreview::learn(const Picture& picture, int64_t grid_h, int64_t grid_w) {
  const int64_t tokens = grid_h * grid_w;
  const int64_t unit = picture.image.width / grid_w;
  if (tokens_ >= kMostTokens || unit < kPlaces) return;
  if (channels_ != picture.latent_channels) {
    channels_ = picture.latent_channels;
    const auto n = static_cast<size_t>(1 + channels_);
    products_.assign(n * n, 0.0);
    targets_.assign(n * kOutputs, 0.0);
    tokens_ = 0;
  }
  const auto n = static_cast<size_t>(1 + channels_);
  const int64_t stride = (tokens + kTokensOfPicture - 1) / kTokensOfPicture;
  std::vector<double> a(n, 1.0);
  std::array<double, kOutputs> b{};
  for (int64_t token = 0; token < tokens; token += stride, ++tokens_) {
    const float* const latent = picture.latents.data() + token * channels_;
    std::copy(latent, latent + channels_, a.begin() + 1);
    mean_colours(picture.planar, picture.image.height, picture.image.width, unit, token / grid_w,
                 token % grid_w, b);
    for (size_t i = 0; i < n; ++i) {
      for (size_t j = 0; j <= i; ++j) products_[i * n + j] += a[i] * a[j];
      for (size_t j = 0; j < b.size(); ++j) targets_[i * kOutputs + j] += a[i] * b[j];
    }
  }
  fit();
}

void LatentPreview::fit() {
  const auto n = static_cast<size_t>(1 + channels_);
  std::vector<double> factor = products_;
  for (size_t i = 0; i < n; ++i) factor[i * n + i] += kRidge * static_cast<double>(tokens_);
  factorize(factor, n);
  std::vector<double> x = targets_;
  constexpr size_t m = kOutputs;
  for (size_t i = 0; i < n; ++i) {
    for (size_t k = 0; k < i; ++k)
      for (size_t j = 0; j < m; ++j) x[i * m + j] -= factor[i * n + k] * x[k * m + j];
    for (size_t j = 0; j < m; ++j) x[i * m + j] /= factor[i * n + i];
  }
  for (size_t i = n; i-- > 0;) {
    for (size_t k = i + 1; k < n; ++k)
      for (size_t j = 0; j < m; ++j) x[i * m + j] -= factor[k * n + i] * x[k * m + j];
    for (size_t j = 0; j < m; ++j) x[i * m + j] /= factor[i * n + i];
  }
  map_.assign(x.begin(), x.end());
}

Expected<RgbImage> LatentPreview::draw(std::span<const float> latents, int64_t grid_h,
                                       int64_t grid_w) const {
  if (map_.empty() || static_cast<int64_t>(latents.size()) != grid_h * grid_w * channels_)
    return make_error(ErrorCode::kShapeMismatch,
                      "preview: {} latents of {}x{} tokens, fitted to {} a token", latents.size(),
                      grid_w, grid_h, channels_);
  RgbImage image{.width = grid_w * kPlaces, .height = grid_h * kPlaces, .pixels = {}};
  image.pixels.resize(static_cast<size_t>(3 * image.width * image.height));
  std::array<float, kOutputs> out{};
  for (int64_t token = 0; token < grid_h * grid_w; ++token) {
    std::copy_n(map_.begin(), out.size(), out.begin());
    const float* row = map_.data();
    for (int64_t c = 0; c < channels_; ++c) {
      row += kOutputs;
      const float value = latents[static_cast<size_t>(token * channels_ + c)];
      for (size_t j = 0; j < out.size(); ++j) out[j] += value * row[j];
    }
    for (int64_t place = 0; place < kPlaces * kPlaces; ++place) {
      const int64_t y = token / grid_w * kPlaces + place / kPlaces;
      const int64_t x = token % grid_w * kPlaces + place % kPlaces;
      for (int64_t colour = 0; colour < 3; ++colour) {
        const float value = out[static_cast<size_t>(place * 3 + colour)];
        image.pixels[static_cast<size_t>((y * image.width + x) * 3 + colour)] =
            static_cast<uint8_t>(std::lround(std::clamp(value, 0.0f, 1.0f) * 255.0f));
      }
    }
  }
  return image;
}

}  // namespace intaglio
