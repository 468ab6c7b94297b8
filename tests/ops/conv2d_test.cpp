// Every conv2d implementation against float64 sums, at every instruction-set level of this machine
// and on its GPU.
#include "ops/conv2d.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "ops/each_implementation.h"
#include "ops/ref/conv2d.h"

namespace intaglio {
namespace {

struct Values {
  std::vector<float> floats;
  std::vector<BFloat16> halves;

  Values(int64_t count, uint32_t seed) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    for (int64_t i = 0; i < count; ++i) {
      halves.push_back(BFloat16(normal(random)));
      floats.push_back(static_cast<float>(halves.back()));  // the same values in both types
    }
  }
  void* as(DType dtype) {
    return dtype == DType::kBF16 ? static_cast<void*>(halves.data()) : floats.data();
  }
  float at(size_t i, DType dtype) const {
    return dtype == DType::kBF16 ? static_cast<float>(halves[i]) : floats[i];
  }
};

struct Options {
  bool add = false;
  bool add_is_y = false;
};

void check(const Conv2dImplementation& implementation, const Context& base, const Conv2dDesc& desc,
           const Options& options) {
  SCOPED_TRACE(fmt::format("{} bf16={} {}x{} {}->{} kernel={} upsample={} {}->{} add={}",
                           implementation.name, base.cpu.avx512_bf16, desc.width, desc.height,
                           desc.in_channels, desc.out_channels, desc.kernel, desc.upsample,
                           dtype_name(desc.dtype), dtype_name(desc.out_dtype()), options.add));
  const int64_t outputs = desc.height * desc.width * desc.out_channels;
  const int64_t shrink = desc.upsample ? 4 : 1;
  const int64_t window = desc.in_channels * desc.kernel * desc.kernel;
  Values x(desc.height * desc.width / shrink * desc.in_channels, 1),
      w(desc.out_channels * window, 2), bias(desc.out_channels, 3);
  Values add(outputs, 4), y(outputs, 5), expected(outputs, 6);
  Conv2dWeights weights{.in_channels = desc.in_channels,
                        .out_channels = desc.out_channels,
                        .kernel = desc.kernel,
                        .upsample = desc.upsample,
                        .dtype = desc.dtype,
                        .packed = {},
                        .bias = {},
                        .implementation = &implementation};
  const Context host{.threads = 2, .cpu = {}};
  weights.bias = upload(host, bias.floats).value();

  Conv2dDesc exact = desc;
  exact.dtype = DType::kF32;
  auto packed = ref::pack_conv2d(host, exact, w.floats.data());
  ASSERT_TRUE(packed);
  weights.packed = std::move(*packed);
  ASSERT_TRUE(ref::conv2d(host, exact, weights, x.floats.data(),
                          options.add ? add.floats.data() : nullptr, expected.floats.data()));

  auto memory = allocate(base, implementation.scratch_bytes(desc, base.threads));
  ASSERT_TRUE(memory);
  Arena arena(std::move(*memory));
  Context context = base;
  context.scratch = &arena;
  weights.bias = upload(context, bias.floats).value();
  packed = implementation.pack(context, desc, w.floats.data());
  ASSERT_TRUE(packed) << packed.error().message;
  weights.packed = std::move(*packed);
  const DType out_dtype = desc.out_dtype();
  if (options.add_is_y) y = add;
  const auto bytes = [](const Values& values, DType dtype) {
    return values.floats.size() * dtype_size(dtype);
  };
  test::Operands on(context);
  void* const to = on.out(y.as(out_dtype), bytes(y, out_dtype));
  const void* added = !options.add       ? nullptr
                      : options.add_is_y ? to
                                         : on.in(add.as(out_dtype), bytes(add, out_dtype));
  const Status status =
      conv2d(context, desc, weights, on.in(x.as(desc.dtype), bytes(x, desc.dtype)), added, to);
  ASSERT_TRUE(status) << status.error().message;
  on.fetch();
  EXPECT_EQ(arena.used(), 0u);
  EXPECT_EQ(arena.peak(), arena.capacity()) << "the plan is not what ran";
  for (size_t i = 0; i < expected.floats.size(); ++i) {
    // fp32 sums of `window` products of unit size. bf16 results add half a unit of their last
    // place; folding the taps of an upsampling in bf16 rounds each weight once more, 2^-9 of it.
    const float e = expected.floats[i];
    double tolerance = 5e-7 * static_cast<double>(window + 2);
    if (out_dtype == DType::kBF16) tolerance += std::abs(e) / 256;
    if (desc.dtype == DType::kBF16 && desc.upsample)
      tolerance += 6.0 * std::sqrt(static_cast<double>(window)) / 256;
    ASSERT_NEAR(y.at(i, out_dtype), e, tolerance) << "element " << i;
  }
}

TEST(conv2d, every_implementation_matches_the_reference) {
  struct Sizes {
    int64_t height, width, in, out;
  };
  // One pixel, one row, one column, ragged tiles and panels, odd channels (bf16 pads them), several
  // bands, the first and last layers' 4 and 3.
  constexpr Sizes kSizes[] = {{1, 1, 1, 1},   {1, 1, 32, 64},   {1, 17, 5, 7},  {13, 1, 6, 20},
                              {5, 7, 3, 3},   {6, 12, 4, 33},   {9, 31, 16, 3}, {4, 26, 18, 80},
                              {70, 6, 4, 16}, {2, 5, 130, 144}, {9, 33, 8, 48}};
  for (const Sizes& size : kSizes) {
    for (int variant = 0; variant < 12; ++variant) {
      Conv2dDesc desc{.height = size.height,
                      .width = size.width,
                      .in_channels = size.in,
                      .out_channels = size.out,
                      .kernel = variant / 4 == 0 ? 1 : 3,
                      .upsample = variant / 4 == 2,
                      .dtype = variant % 2 != 0 ? DType::kBF16 : DType::kF32,
                      .f32_out = variant % 4 >= 2};
      if (desc.upsample) {
        desc.height *= 2;
        desc.width *= 2;
      }
      test::each_implementation(
          conv2d_implementations(), desc,
          [&](const Conv2dImplementation& implementation, const Context& context) {
            check(implementation, context, desc,
                  {.add = variant % 4 != 0, .add_is_y = variant % 4 == 1});
          });
      if (HasFatalFailure()) return;
    }
  }
}

TEST(conv2d, refuses_what_does_not_fit) {
  auto arena = Arena::with_capacity(1 << 20);
  ASSERT_TRUE(arena);
  const Context context{.threads = 1, .cpu = host_cpu_features(), .scratch = &*arena};
  std::vector<float> w(8 * 4 * 9), x(64 * 8);
  const TensorView good{w.data(), DType::kF32, {8, 4, 3, 3}};
  const TensorView bias{w.data(), DType::kF32, {8}};
  EXPECT_FALSE(make_conv2d(context, DType::kF32, {w.data(), DType::kF32, {8, 4, 2, 2}}, bias));
  EXPECT_FALSE(make_conv2d(context, DType::kF32, {w.data(), DType::kF32, {8, 4, 9}}, bias));
  EXPECT_FALSE(make_conv2d(context, DType::kF32, {nullptr, DType::kF32, {8, 4, 3, 3}}, bias));
  EXPECT_FALSE(make_conv2d(context, DType::kF32, good, {w.data(), DType::kF32, {7}}));
  EXPECT_FALSE(make_conv2d(context, DType::kI8, good, bias));
  EXPECT_FALSE(
      make_conv2d(context, DType::kF32, {w.data(), DType::kF32, {8, 4, 1, 1}}, bias, true));
  const auto weights = make_conv2d(context, DType::kF32, good, bias);
  ASSERT_TRUE(weights);
  const Conv2dDesc desc{.height = 4, .width = 4, .in_channels = 4, .out_channels = 8};
  EXPECT_TRUE(conv2d(context, desc, *weights, w.data(), nullptr, x.data()));
  Conv2dDesc other = desc;
  other.in_channels = 5;
  EXPECT_FALSE(conv2d(context, other, *weights, w.data(), nullptr, x.data()));
  other = desc;
  other.upsample = true;
  EXPECT_FALSE(conv2d(context, other, *weights, w.data(), nullptr, x.data()));
  Arena empty;
  EXPECT_FALSE(conv2d({.threads = 1, .cpu = host_cpu_features(), .scratch = &empty}, desc, *weights,
                      w.data(), nullptr, x.data()));
}

}  // namespace
}  // namespace intaglio
