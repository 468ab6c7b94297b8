// The bf16 products on AMX tiles, float_gemm and conv2d, on emulated tiles: drivers, blocking and
// layouts are tested on machines without AMX. With AMX, float_gemm_test.cpp and conv2d_test.cpp run
// the instructions as well.
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "ops/cpu/amx/amx_gemm_kernel.h"
#include "ops/cpu/bf16_amx_conv2d.h"
#include "ops/cpu/bf16_amx_gemm.h"
#include "ops/emulated_tiles.h"
#include "ops/ref/conv2d.h"
#include "ops/ref/float_gemm.h"

#if defined(__x86_64__)

namespace intaglio {
namespace {

float widen(const uint8_t* p) {
  BFloat16 x;
  std::memcpy(&x, p, sizeof(x));
  return static_cast<float>(x);
}

// What tdpbf16ps does, in plain loops.
struct EmulatedOps : testing::EmulatedTiles {
  using Task = Bf16AmxTask;
  using Epilogue = Bf16Epilogue;
  struct Columns {};

  template <int kAcc, int kA, int kW>
  static void dot() {
    for (int r = 0; r < 16; ++r) {
      float acc[16];
      std::memcpy(acc, tiles[kAcc].bytes[r], 64);
      for (int c = 0; c < 16; ++c) {
        for (int k = 0; k < 32; ++k) {
          acc[c] +=
              widen(tiles[kA].bytes[r] + 2 * k) * widen(tiles[kW].bytes[k / 2] + c * 4 + k % 2 * 2);
        }
      }
      std::memcpy(tiles[kAcc].bytes[r], acc, 64);
    }
  }
  static Columns columns(const Bf16Epilogue&, int64_t) { return {}; }
  static void epilogue_row(const Bf16Epilogue& e, const Columns&, const int32_t* acc, int64_t row,
                           int64_t col0) {
    const int64_t line = row / e.pitch;
    const int64_t place = row % e.pitch;
    if (place >= e.width) return;
    for (int64_t c = col0; c < std::min<int64_t>(e.n, col0 + kAmxPanelCols); ++c) {
      float y;
      std::memcpy(&y, acc + (c - col0), sizeof(y));
      if (e.bias != nullptr) y += e.bias[c];
      const int64_t at = line * e.ld_line + place * e.ld + c;
      if (e.bf16_out) {
        if (e.add != nullptr) y += static_cast<float>(static_cast<const BFloat16*>(e.add)[at]);
        static_cast<BFloat16*>(e.out)[at] = BFloat16(y);
      } else {
        if (e.add != nullptr) y += static_cast<const float*>(e.add)[at];
        static_cast<float*>(e.out)[at] = y;
      }
    }
  }
};

void emulated_task(const Bf16AmxTask& task) { run_task<EmulatedOps>(task); }

void emulated_pack(const Bf16AmxPackArgs& args) {
  const int64_t steps = (args.k + 31) / 32;
  std::memset(args.panel, 0, static_cast<size_t>(steps * kAmxStepWBytes));
  for (int64_t c = 0; c < args.n; ++c) {
    for (int64_t k = 0; k < args.k; ++k) {
      const int64_t at = k / 32 * kAmxStepWBytes + c / 16 * kAmxTileBytes + k % 32 / 2 * 64 +
                         c % 16 * 4 + k % 2 * 2;
      std::memcpy(args.panel + at, args.w + c * args.ldw + k, 2);
    }
  }
}

constexpr Bf16AmxKernels kEmulated{.task = emulated_task, .pack = emulated_pack};

std::vector<BFloat16> random_halves(int64_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<BFloat16> values(static_cast<size_t>(count));
  for (BFloat16& value : values) value = BFloat16(normal(random));
  return values;
}

std::vector<float> random_floats(int64_t count, uint32_t seed) {
  const std::vector<BFloat16> halves = random_halves(count, seed);
  std::vector<float> values;
  for (const BFloat16 value : halves) values.push_back(static_cast<float>(value));
  return values;
}

double at(const std::vector<std::byte>& data, DType dtype, size_t index) {
  if (dtype == DType::kBF16) {
    BFloat16 half;
    std::memcpy(&half, data.data() + index * 2, 2);
    return static_cast<double>(static_cast<float>(half));
  }
  float value;
  std::memcpy(&value, data.data() + index * 4, 4);
  return static_cast<double>(value);
}

// fp32 sums of k unit products; bf16 results add half a unit of their last place.
void expect_close(const std::vector<std::byte>& got, DType dtype, const std::vector<float>& wanted,
                  int64_t k) {
  for (size_t i = 0; i < wanted.size(); ++i) {
    const double e = static_cast<double>(wanted[i]);
    const double tolerance =
        5e-7 * static_cast<double>(k + 2) + (dtype == DType::kBF16 ? std::abs(e) / 256 : 0.0);
    ASSERT_NEAR(at(got, dtype, i), e, tolerance) << "element " << i;
  }
}

void check_gemm(const FloatGemmDesc& desc, const AmxTuning& tuning, int threads) {
  SCOPED_TRACE(fmt::format("m={} n={} k={} {} bias {} pieces of {} on {}", desc.m, desc.n, desc.k,
                           dtype_name(desc.out_dtype), desc.has_bias, tuning.piece_steps, threads));
  const int64_t lda = desc.k + 5;
  const std::vector<BFloat16> a = random_halves(desc.m * lda, 1),
                              w = random_halves(desc.n * desc.k, 2);
  const std::vector<float> bias = random_floats(desc.n, 3);
  std::vector<float> wanted(static_cast<size_t>(desc.m * desc.n));
  FloatGemmArgs args{.a = a.data(),
                     .lda = lda,
                     .w = w.data(),
                     .bias = desc.has_bias ? bias.data() : nullptr,
                     .out = wanted.data(),
                     .ldo = desc.n};
  FloatGemmDesc exact = desc;
  exact.out_dtype = DType::kF32;
  ASSERT_TRUE(ref::float_gemm({.threads = 2, .cpu = {}}, exact, args));
  std::vector<std::byte> got(wanted.size() * dtype_size(desc.out_dtype));
  args.out = got.data();
  auto arena = Arena::with_capacity(bf16_amx_scratch_bytes(desc, threads, tuning));
  ASSERT_TRUE(arena);
  const Status status = bf16_amx_run({.threads = threads, .cpu = {}, .scratch = &*arena}, desc,
                                     args, kEmulated, tuning);
  ASSERT_TRUE(status) << status.error().message;
  EXPECT_EQ(arena->used(), 0u);
  EXPECT_EQ(arena->peak(), arena->capacity()) << "the plan is not what ran";
  expect_close(got, desc.out_dtype, wanted, desc.k);
}

TEST(bf16_amx_emulation, products_match_the_reference) {
  for (const int64_t m : {1, 9, 16, 33, 70}) {
    for (const int64_t k : {1, 4, 31, 32, 33, 100, 256}) {
      const int64_t n = 1 + (m * 37 + k * 11) % 100;
      check_gemm({.m = m, .n = n, .k = k, .in_dtype = DType::kBF16, .has_bias = k % 2 == 0}, {}, 2);
      check_gemm({.m = m, .n = n, .k = k, .in_dtype = DType::kBF16, .out_dtype = DType::kBF16},
                 {.tile_groups = 3, .piece_steps = 2, .k_block = 128, .pack_bytes = 1}, 3);
    }
  }
}

// Weights of more than 8 MiB are packed block by block.
TEST(bf16_amx_emulation, column_blocks_leave_no_seam) {
  check_gemm({.m = 17, .n = 70, .k = 70000, .in_dtype = DType::kBF16, .has_bias = true}, {}, 2);
}

void check_conv(const Conv2dDesc& desc, int variant, const Bf16AmxConvOptions& options,
                const Conv2dWeights& weights, const std::vector<float>& w) {
  const bool add = variant > 0;
  SCOPED_TRACE(fmt::format("{}x{} {}->{} kernel {} upsample {} {} variant {} pieces of {}",
                           desc.width, desc.height, desc.in_channels, desc.out_channels,
                           desc.kernel, desc.upsample, dtype_name(desc.out_dtype()), variant,
                           options.piece_steps));
  const int64_t outputs = desc.height * desc.width * desc.out_channels;
  const int64_t inputs = desc.height * desc.width / (desc.upsample ? 4 : 1) * desc.in_channels;
  const std::vector<BFloat16> x = random_halves(inputs, 1);
  std::vector<float> wide_x;
  for (const BFloat16 value : x) wide_x.push_back(static_cast<float>(value));
  const std::vector<float> added = random_floats(outputs, 2);
  std::vector<float> wanted(static_cast<size_t>(outputs));

  Conv2dDesc exact = desc;
  exact.dtype = DType::kF32;
  Conv2dWeights plain{.in_channels = desc.in_channels,
                      .out_channels = desc.out_channels,
                      .kernel = desc.kernel,
                      .upsample = desc.upsample,
                      .packed = {},
                      .bias = {}};
  auto packed = ref::pack_conv2d({.threads = 2, .cpu = {}}, exact, w.data());
  ASSERT_TRUE(packed);
  plain.packed = std::move(*packed);
  auto bias = AlignedBuffer::allocate(weights.bias.size());
  ASSERT_TRUE(bias);
  std::memcpy(bias->data(), weights.bias.data(), bias->size());
  plain.bias = std::move(*bias);
  ASSERT_TRUE(ref::conv2d({.threads = 2, .cpu = {}}, exact, plain, wide_x.data(),
                          add ? added.data() : nullptr, wanted.data()));

  const size_t element = dtype_size(desc.out_dtype());
  std::vector<std::byte> y(wanted.size() * element), joined(y.size());
  for (size_t i = 0; i < added.size(); ++i) {
    const BFloat16 half(added[i]);
    std::memcpy(joined.data() + i * element,
                element == 2 ? static_cast<const void*>(&half) : &added[i], element);
  }
  if (variant == 2) y = joined;  // add is y
  constexpr int kThreads = 2;
  auto arena = Arena::with_capacity(bf16_amx_conv2d_scratch_bytes(desc, kThreads, options));
  ASSERT_TRUE(arena);
  const void* const add_data = !add ? nullptr : variant == 2 ? y.data() : joined.data();
  const Status status = run_bf16_amx_conv2d({.threads = kThreads, .cpu = {}, .scratch = &*arena},
                                            desc, weights, {x.data(), add_data, y.data()}, options);
  ASSERT_TRUE(status) << status.error().message;
  EXPECT_EQ(arena->used(), 0u);
  EXPECT_EQ(arena->peak(), arena->capacity()) << "the plan is not what ran";
  const int64_t window = desc.in_channels * desc.kernel * desc.kernel;
  const double folded =  // folding taps in bf16 rounds each weight once more, 2^-9 of it
      desc.upsample ? 6.0 * std::sqrt(static_cast<double>(window)) / 256 : 0.0;
  for (size_t i = 0; i < wanted.size(); ++i) {
    const double e = static_cast<double>(wanted[i]);
    const double tolerance =
        5e-7 * static_cast<double>(window + 2) + folded + (element == 2 ? std::abs(e) / 256 : 0.0);
    ASSERT_NEAR(at(y, desc.out_dtype(), i), e, tolerance) << "element " << i;
  }
}

struct Channels {
  int64_t in, out, kernel;
  bool upsample;
};

// One packing of the weights serves every size of picture.
TEST(bf16_amx_emulation, convolutions_match_the_reference_at_every_size) {
  constexpr Channels kChannels[] = {{1, 1, 3, false},   {16, 3, 3, false}, {32, 32, 3, false},
                                    {33, 40, 3, false}, {64, 96, 3, true}, {5, 7, 3, true},
                                    {32, 64, 1, false}, {7, 33, 1, false}};
  constexpr int64_t kSizes[][2] = {{1, 1}, {1, 19}, {23, 1}, {5, 16}, {9, 33}, {4, 50}};  // h, w
  for (const Channels& c : kChannels) {
    Conv2dDesc desc{.in_channels = c.in,
                    .out_channels = c.out,
                    .kernel = c.kernel,
                    .upsample = c.upsample,
                    .dtype = DType::kBF16};
    const std::vector<float> w = random_floats(c.out * c.in * c.kernel * c.kernel, 7);
    Conv2dWeights weights{.in_channels = c.in,
                          .out_channels = c.out,
                          .kernel = c.kernel,
                          .upsample = c.upsample,
                          .dtype = DType::kBF16,
                          .packed = {},
                          .bias = {}};
    auto packed = pack_bf16_amx_conv2d({.threads = 2, .cpu = {}}, desc, w.data());
    ASSERT_TRUE(packed);
    weights.packed = std::move(*packed);
    const std::vector<float> bias = random_floats(c.out, 8);
    auto bias_buffer = AlignedBuffer::allocate(bias.size() * sizeof(float));
    ASSERT_TRUE(bias_buffer);
    std::copy(bias.begin(), bias.end(), bias_buffer->as<float>());
    weights.bias = std::move(*bias_buffer);
    int variant = 0;
    for (const auto& size : kSizes) {
      desc.height = size[0] * (c.upsample ? 2 : 1);
      desc.width = size[1] * (c.upsample ? 2 : 1);
      desc.f32_out = variant % 4 == 1;
      // Blocks of the whole picture, of a few lines and columns, and of one line.
      for (const Bf16AmxConvOptions& options : {Bf16AmxConvOptions{.kernel = emulated_task},
                                                Bf16AmxConvOptions{.kernel = emulated_task,
                                                .block_bytes = 8000,
                                                .block_columns = 10,
                                                .piece_steps = 2},
                                                Bf16AmxConvOptions{.kernel = emulated_task,
                                                .block_bytes = 1,
                                                .block_columns = 7,
                                                .piece_steps = 4,
                                                .tile_groups = 3}}) {
        check_conv(desc, variant++ % 3, options, weights, w);
        if (HasFatalFailure()) return;
      }
    }
  }
}

}  // namespace
}  // namespace intaglio

#endif  // __x86_64__
