// The norm of pixels, run on the CPU (emulation/lanes.h) against the formula in float64: channels
// that a warp holds and more, ragged ones, a last block that is not full, in place.
#include "row_emulation.h"
// Kernels after the emulation, which defines what they are written in.
#include "ops/cuda/kernels/pixel_norm.cuh"

namespace intaglio::cuda {
namespace {

class PixelNormKernel : public testing::Test {
 protected:
  template <typename T, class Type>
  void check(int pixels, int channels, int shift, bool in_place) {
    SCOPED_TRACE(testing::Message() << pixels << " x " << channels << " shifted by " << shift);
    const int64_t count = int64_t{pixels} * channels;
    Memory<T> x(count, shift), out(count, shift);
    Memory<float> weight(channels, shift);
    for (int64_t i = 0; i < count; ++i) x[i] = T(normal_value(random_));
    for (int64_t i = 0; i < channels; ++i) weight[i] = 1.0f + 0.3f * normal_value(random_);
    if (pixels > 1)  // zeros stay zeros
      for (int64_t c = 0; c < channels; ++c) x[channels + c] = T(0.0f);
    std::vector<float> before;
    for (int64_t i = 0; i < count; ++i) before.push_back(as_float(x[i]));
    const PixelNormParams p{.x = x.data(),
                            .y = in_place ? x.data() : out.data(),
                            .weight = weight.data(),
                            .pixels = pixels,
                            .channels = channels,
                            .root = std::sqrt(static_cast<float>(channels)),
                            .least = 1e-12f,
                            .silu = true};
    const int64_t blocks = (pixels + 7) / 8;
    if (channels % 4 == 0 && shift == 0) {
      run_grid(blocks, kPixelNormThreads, [=] { pixel_norm_kernel<Type, true, true>(p); });
    } else {
      run_grid(blocks, kPixelNormThreads, [=] { pixel_norm_kernel<Type, false, true>(p); });
    }
    const T* const y = static_cast<const T*>(p.y);
    for (int64_t pixel = 0; pixel < pixels; ++pixel) {
      double squares = 0.0;
      for (int64_t c = 0; c < channels; ++c)
        squares += std::pow(double{before[static_cast<size_t>(pixel * channels + c)]}, 2);
      for (int64_t c = 0; c < channels; ++c) {
        const int64_t i = pixel * channels + c;
        const double v = double{before[static_cast<size_t>(i)]} *
                         std::sqrt(static_cast<double>(channels)) /
                         std::fmax(std::sqrt(squares), 1e-12) * double{weight[c]};
        ASSERT_TRUE(is_near(as_float(y[i]), v / (1.0 + std::exp(-v)), sizeof(T) == 4 ? 40 : 33000,
                            sizeof(T) == 4 ? 1.0 : 0.02))
            << i << ": " << as_float(y[i]);
      }
    }
    EXPECT_TRUE(x.guards_are_whole() && out.guards_are_whole() && weight.guards_are_whole());
  }

  std::mt19937 random_{11};
};

TEST_F(PixelNormKernel, ChannelsOfEveryCount) {
  for (const int channels : {1, 6, 16, 96, 192, 384, 516, 1030}) {
    for (const int shift : {0, 2}) {
      check<float, F32>(11, channels, shift, false);
      check<BFloat16, BF16>(11, channels, shift, true);
    }
  }
}

TEST_F(PixelNormKernel, PicturesOfEverySize) {
  for (const int pixels : {1, 7, 8, 9, 40}) check<float, F32>(pixels, 96, 0, true);
}

}  // namespace
}  // namespace intaglio::cuda
