#include "ops/ref/conv2d.h"

#include <algorithm>

#include "core/parallel_tasks.h"

namespace intaglio::ref {
namespace {

constexpr int64_t kPixelsAtOnce = 64;

template <typename T>
double read(const void* data, int64_t index) {
  return static_cast<double>(static_cast<float>(static_cast<const T*>(data)[index]));
}

template <typename T, typename Out>
Status convolve(const Context& context, const Conv2dDesc& d, const Conv2dWeights& weights,
                const void* x, const void* add, void* y) {
  const int64_t pad = (d.kernel - 1) / 2;
  const int64_t shrink = d.upsample ? 2 : 1;
  const int64_t source_width = d.width / shrink;
  const auto* w = weights.packed.as<float>();
  const auto* bias = weights.bias.as<float>();
  const int64_t pieces = (d.width + kPixelsAtOnce - 1) / kPixelsAtOnce;
  INTAGLIO_TRY(parallel_tasks(context, d.height * pieces, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t piece = begin; piece < end; ++piece) {
      const int64_t oy = piece / pieces;
      const int64_t first = piece % pieces * kPixelsAtOnce;
      for (int64_t ox = first; ox < std::min(d.width, first + kPixelsAtOnce); ++ox) {
        for (int64_t o = 0; o < d.out_channels; ++o) {
          double sum = static_cast<double>(bias[o]);
          for (int64_t dy = 0; dy < d.kernel; ++dy) {
            const int64_t iy = oy + dy - pad;
            if (iy < 0 || iy >= d.height) continue;
            for (int64_t dx = 0; dx < d.kernel; ++dx) {
              const int64_t ix = ox + dx - pad;
              if (ix < 0 || ix >= d.width) continue;
              const int64_t pixel = iy / shrink * source_width + ix / shrink;
              for (int64_t c = 0; c < d.in_channels; ++c) {
                sum += read<T>(x, pixel * d.in_channels + c) *
                       static_cast<double>(
                           w[((o * d.in_channels + c) * d.kernel + dy) * d.kernel + dx]);
              }
            }
          }
          const int64_t at = (oy * d.width + ox) * d.out_channels + o;
          if (add != nullptr) sum += read<Out>(add, at);
          static_cast<Out*>(y)[at] = static_cast<Out>(static_cast<float>(sum));
        }
      }
    }
  }));
  return {};
}

}  // namespace

Expected<AlignedBuffer> pack_conv2d(const Context&, const Conv2dDesc& desc, const float* w) {
  const int64_t count = desc.out_channels * desc.in_channels * desc.kernel * desc.kernel;
  INTAGLIO_ASSIGN(AlignedBuffer packed,
                  AlignedBuffer::allocate(static_cast<size_t>(count) * sizeof(float)));
  std::copy_n(w, count, packed.as<float>());
  return packed;
}

Status conv2d(const Context& context, const Conv2dDesc& desc, const Conv2dWeights& weights,
              const void* x, const void* add, void* y) {
  if (desc.dtype == DType::kBF16 && !desc.f32_out)
    return convolve<BFloat16, BFloat16>(context, desc, weights, x, add, y);
  if (desc.dtype == DType::kBF16)
    return convolve<BFloat16, float>(context, desc, weights, x, add, y);
  return convolve<float, float>(context, desc, weights, x, add, y);
}

}  // namespace intaglio::ref
