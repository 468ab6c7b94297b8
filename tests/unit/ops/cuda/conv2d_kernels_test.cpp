// The convolution kernels, run on the CPU (emulation/lanes.h) against plain loops over the picture:
// every config that is compiled for cards, odd sizes, borders, all kinds of channels, upsampling,
// add, several tiles to a block, copies that land late and at once.
//
// Numbers are small multiples of powers of two, so that all sums are exact in float and the results
// are compared bit for bit, in whatever order they are added; so are the summed taps of an
// upsampling in bf16.
#include <gtest/gtest.h>

#include "dynamic_shared.h"
#include "lanes.h"
// Kernels after the emulation, which defines what they are written in.
#include "ops/cuda/kernels/plain_conv2d.cuh"
#include "ops/cuda/kernels/sm80_conv2d_configs.cuh"
#include "ops/cuda/launch/conv2d_pack.h"

namespace intaglio::cuda {

namespace {

using emulation::machine;

constexpr int kGuard = 64;  // bytes around a picture

enum class Add { kNone, kOther, kY };

struct Case {
  int height = 0, width = 0;  // of y
  int in = 0, out = 0;
  int kernel = 3;
  bool upsample = false, f32_out = false, bias = true;
  Add add = Add::kNone;
  Conv2dType type = Conv2dType::kBF16;
  int y_shift = 0;  // bytes that y and add lie beside a multiple of 16
};

// A dense array of float or bf16, `shift` bytes past a multiple of 16. What lies around it is NaN.
class Picture {
 public:
  Picture(int64_t count, Conv2dType type, int shift = 0)
      : count_(count),
        first_(kGuard + shift),
        type_(type),
        storage_(static_cast<size_t>((count * conv2d_element_bytes(type) + 2 * kGuard) / 16 + 2)) {
    std::memset(storage_.data(), 0xff, storage_.size() * sizeof(uint4));
  }
  void* data() { return reinterpret_cast<char*>(storage_.data()) + first_; }
  float get(int64_t i) {
    if (type_ == Conv2dType::kF32) return static_cast<float*>(data())[i];
    return static_cast<float>(static_cast<BFloat16*>(data())[i]);
  }
  void set(int64_t i, float value) {
    if (type_ == Conv2dType::kF32) {
      static_cast<float*>(data())[i] = value;
    } else {
      static_cast<BFloat16*>(data())[i] = BFloat16(value);
    }
  }
  void fill(std::mt19937& random, float step) {
    for (int64_t i = 0; i < count_; ++i)
      set(i, step * static_cast<float>(static_cast<int>(random() % 17) - 8));
  }
  bool guards_are_whole() const {
    const auto* bytes = reinterpret_cast<const unsigned char*>(storage_.data());
    const int64_t end = first_ + count_ * conv2d_element_bytes(type_);
    for (int64_t i = 0; i < static_cast<int64_t>(storage_.size() * sizeof(uint4)); ++i) {
      if ((i < first_ || i >= end) && bytes[i] != 0xff) return false;
    }
    return true;
  }

 private:
  int64_t count_, first_;
  Conv2dType type_;
  std::vector<uint4> storage_;
};

struct Problem {
  Case c;
  Picture x, other, y;
  std::vector<float> w, bias, expected;
  std::vector<uint4> packed;
  Conv2dParams p{};

  static Conv2dType out_type(const Case& c) { return c.f32_out ? Conv2dType::kF32 : c.type; }

  Problem(const Case& c_, std::mt19937& random)
      : c(c_),
        x(int64_t{c_.height} * c_.width * c_.in / (c_.upsample ? 4 : 1), c_.type),
        other(int64_t{c_.height} * c_.width * c_.out, out_type(c_), c_.y_shift),
        y(int64_t{c_.height} * c_.width * c_.out, out_type(c_), c_.y_shift) {
    x.fill(random, 0.125f);
    other.fill(random, 0.5f);
    if (c.add == Add::kY) y.fill(random, 0.5f);
    const auto number = [&](float step) {
      return step * static_cast<float>(static_cast<int>(random() % 17) - 8);
    };
    w.resize(static_cast<size_t>(c.out * c.in * c.kernel * c.kernel));
    for (float& value : w) value = number(0.0625f);
    bias.resize(static_cast<size_t>(c.out));
    for (float& value : bias) value = number(0.25f);
    const Conv2dPack pack{.in_channels = c.in,
                          .out_channels = c.out,
                          .kernel = c.kernel,
                          .upsample = c.upsample ? 1 : 0,
                          .type = c.type};
    packed.resize(static_cast<size_t>(packed_conv2d_bytes(pack) / 16));
    pack_conv2d_weights(pack, w.data(), packed.data());
    p = {.x = x.data(),
         .w = packed.data(),
         .bias = c.bias ? bias.data() : nullptr,
         .add = c.add == Add::kNone ? nullptr
                : c.add == Add::kY  ? y.data()
                                    : other.data(),
         .y = y.data(),
         .height = c.height,
         .width = c.width,
         .in_channels = c.in,
         .out_channels = c.out,
         .kernel = c.kernel,
         .upsample = c.upsample ? 1 : 0,
         .type = c.type,
         .f32_out = c.f32_out ? 1 : 0};
    expect();
    std::memset(smem, 0x55, sizeof(smem));
    machine.fault = nullptr;
    machine.late_copies = random() % 2 == 0;
  }

  void expect() {
    const int shrink = c.upsample ? 2 : 1, pad = (c.kernel - 1) / 2;
    for (int oy = 0; oy < c.height; ++oy) {
      for (int ox = 0; ox < c.width; ++ox) {
        for (int o = 0; o < c.out; ++o) {
          double sum = c.bias ? static_cast<double>(bias[static_cast<size_t>(o)]) : 0.0;
          for (int dy = 0; dy < c.kernel; ++dy) {
            for (int dx = 0; dx < c.kernel; ++dx) {
              const int iy = oy + dy - pad, ix = ox + dx - pad;
              if (iy < 0 || iy >= c.height || ix < 0 || ix >= c.width) continue;
              const int64_t pixel = int64_t{iy / shrink} * (c.width / shrink) + ix / shrink;
              for (int i = 0; i < c.in; ++i) {
                const auto at =
                    static_cast<size_t>(((o * c.in + i) * c.kernel + dy) * c.kernel + dx);
                sum += static_cast<double>(x.get(pixel * c.in + i)) * static_cast<double>(w[at]);
              }
            }
          }
          const int64_t at = (int64_t{oy} * c.width + ox) * c.out + o;
          if (c.add != Add::kNone)
            sum += static_cast<double>(c.add == Add::kY ? y.get(at) : other.get(at));
          const auto exact = static_cast<float>(sum);
          expected.push_back(out_type(c) == Conv2dType::kF32 ? exact
                                                             : static_cast<float>(BFloat16(exact)));
        }
      }
    }
  }

  void check(const char* name) {
    int64_t wrong = 0, first = -1;
    for (size_t i = 0; i < expected.size(); ++i) {
      if (y.get(static_cast<int64_t>(i)) == expected[i]) continue;
      if (wrong++ == 0) first = static_cast<int64_t>(i);
    }
    EXPECT_EQ(wrong, 0) << name << " " << c.width << "x" << c.height << " " << c.in << "->" << c.out
                        << " kernel " << c.kernel << " upsample " << c.upsample << " add "
                        << static_cast<int>(c.add) << " f32_out " << c.f32_out
                        << ": first at pixel " << first / c.out << " channel " << first % c.out
                        << ": " << (first < 0 ? 0.0f : y.get(first));
    EXPECT_TRUE(y.guards_are_whole()) << name;
    EXPECT_EQ(machine.fault, nullptr) << name;
  }
};

void run_grid(unsigned blocks, int threads, std::function<void()> kernel) {
  machine.grid = {blocks, 1, 1};
  machine.kernel = std::move(kernel);
  for (unsigned block = 0; block < blocks; ++block) {
    machine.block = {block, 0, 0};
    emulation::run_block(threads);
  }
}

template <class C>
void run_sm80(const Case& c, std::mt19937& random) {
  Problem q(c, random);
  Sm80Conv2dArgs args{};
  args.p = q.p;
  args.g = conv2d_geometry(q.p);
  args.tiles_m = (args.g.pixels + C::kTileM - 1) / C::kTileM;
  args.tiles_n = (c.out + C::kTileN - 1) / C::kTileN;
  args.k_tiles = args.g.taps * ((2 * c.in + C::kTileK - 1) / C::kTileK);
  const auto tiles = static_cast<unsigned>(args.tiles_m * args.tiles_n * args.g.phases);
  run_grid(std::min<unsigned>(tiles, 1 + random() % 3), C::kThreads,
           [&] { sm80_conv2d_kernel<C>(args); });
  q.check("sm80_conv2d");
}

template <class C>
class Sm80Conv2dTest : public testing::Test {
 protected:
  std::mt19937 random{7};
  static constexpr bool kAny = C::kAnyChannels;
  // A picture of about 1.4 tiles of pixels.
  static constexpr int kWidth = 23, kHeight = C::kTileM * 14 / 10 / kWidth + 1;
};
template <class... C>
testing::Types<C...> as_test_types(std::tuple<C...>);
using Configs = decltype(as_test_types(Sm80Conv2dConfigs{}));
TYPED_TEST_SUITE(Sm80Conv2dTest, Configs);

TYPED_TEST(Sm80Conv2dTest, WindowsOfNine) {
  using C = TypeParam;
  const int in = this->kAny ? 3 : 40;
  run_sm80<C>({.height = this->kHeight, .width = this->kWidth, .in = in, .out = C::kTileN + 8},
              this->random);
  run_sm80<C>({.height = this->kHeight,
               .width = this->kWidth,
               .in = in,
               .out = C::kTileN / 2,
               .bias = false,
               .add = Add::kY},
              this->random);
}

TYPED_TEST(Sm80Conv2dTest, SinglePixelsAndManyChannels) {
  using C = TypeParam;
  run_sm80<C>({.height = this->kHeight,
               .width = this->kWidth,
               .in = this->kAny ? 77 : 136,
               .out = C::kTileN,
               .kernel = 1,
               .add = Add::kOther},
              this->random);
  run_sm80<C>({.height = 3, .width = 1, .in = this->kAny ? 4 : 8, .out = 8, .kernel = 1},
              this->random);
}

TYPED_TEST(Sm80Conv2dTest, ThroughAnUpsampling) {
  using C = TypeParam;
  run_sm80<C>({.height = 14, .width = 22, .in = this->kAny ? 5 : 32, .out = 40, .upsample = true},
              this->random);
  run_sm80<C>({.height = 2,
               .width = 2,
               .in = this->kAny ? 4 : 16,
               .out = 16,
               .upsample = true,
               .add = Add::kY},
              this->random);
}

TYPED_TEST(Sm80Conv2dTest, RaggedAndFloatOutputs) {
  using C = TypeParam;
  const int in = this->kAny ? 4 : 32;
  run_sm80<C>({.height = 9, .width = 17, .in = in, .out = 3, .f32_out = true}, this->random);
  run_sm80<C>({.height = 5, .width = 7, .in = in, .out = 24, .f32_out = true, .add = Add::kY},
              this->random);
  run_sm80<C>({.height = 5, .width = 7, .in = in, .out = 13, .add = Add::kOther}, this->random);
  run_sm80<C>({.height = 1, .width = 1, .in = in, .out = 1}, this->random);
  run_sm80<C>({.height = 3, .width = 5, .in = in, .out = 16, .add = Add::kOther, .y_shift = 2},
              this->random);
}

// The channel count of the decoder's largest layers: many k tiles to a tap.
TEST(Sm80Conv2dDepthTest, FiveHundredAndTwelveChannels) {
  std::mt19937 random(8);
  using Small = std::tuple_element_t<7, Sm80Conv2dConfigs>;
  using Narrow = std::tuple_element_t<8, Sm80Conv2dConfigs>;
  static_assert(Small::kTileM == 64 && Narrow::kTileN == 16);
  run_sm80<Small>({.height = 6, .width = 5, .in = 512, .out = 40}, random);
  run_sm80<Narrow>({.height = 6, .width = 5, .in = 512, .out = 3, .f32_out = true}, random);
}

void run_plain(const Case& c, std::mt19937& random) {
  using C = PlainConv2dConfig;
  Problem q(c, random);
  PlainConv2dArgs args{};
  args.p = q.p;
  args.g = conv2d_geometry(q.p);
  args.tiles_n = (c.out + C::kTileN - 1) / C::kTileN;
  const int tiles_m = (args.g.pixels + C::kTileM - 1) / C::kTileM;
  run_grid(static_cast<unsigned>(tiles_m * args.tiles_n * args.g.phases), C::kThreads, [&] {
    if (c.type == Conv2dType::kF32) {
      plain_conv2d_kernel<float>(args);
    } else {
      plain_conv2d_kernel<__nv_bfloat16>(args);
    }
  });
  q.check("plain_conv2d");
}

TEST(PlainConv2dTest, AgreesWithLoops) {
  std::mt19937 random(9);
  for (const Conv2dType type : {Conv2dType::kF32, Conv2dType::kBF16}) {
    run_plain({.height = 9, .width = 19, .in = 40, .out = 72, .type = type}, random);
    run_plain({.height = 7, .width = 5, .in = 3, .out = 65, .add = Add::kY, .type = type}, random);
    run_plain({.height = 4,
               .width = 40,
               .in = 33,
               .out = 5,
               .kernel = 1,
               .add = Add::kOther,
               .type = type},
              random);
    run_plain({.height = 14, .width = 22, .in = 20, .out = 12, .upsample = true, .type = type},
              random);
    run_plain(
        {.height = 6, .width = 6, .in = 4, .out = 3, .f32_out = true, .bias = false, .type = type},
        random);
    run_plain({.height = 1, .width = 1, .in = 1, .out = 1, .type = type}, random);
  }
}

}  // namespace
}  // namespace intaglio::cuda
