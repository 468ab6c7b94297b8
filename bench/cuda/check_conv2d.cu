// Checks, then times, the convolutions: sm80_conv2d (every config, and the one it chooses) against
// plain_conv2d, plain_conv2d against loops on the CPU; then every convolution of the FLUX.2 VAE
// decoder at 1024 px.
//
//   nvcc -std=c++20 -O3 -Isrc -Ibench/cuda -gencode arch=compute_90a,code=sm_90a
//   bench/cuda/check_conv2d.cu src/ops/cuda/launch/conv2d.cu -o check_conv2d
//   ./check_conv2d [--check-only | --bench-only] [--json PATH]
//
// Exit status 0: everything agreed. Two kinds of data. Multiples of powers of two, small enough
// that every sum is exact in float in any order: results must be equal bit for bit. Random data:
// the orders of summation differ, so a bf16 may be its neighbour, plus 1e-4 of outputs near 1.
// Times are medians of 15 runs on random data, L2 overwritten before each.
#include <cuda_bf16.h>

#include <cmath>
#include <cstring>
#include <random>
#include <string>

#include "bench_report.h"
#include "device_bench.cuh"
#include "ops/cuda/launch/conv2d.h"
#include "ops/cuda/launch/conv2d_pack.h"

namespace intaglio::bench {
namespace {

using cuda::Conv2dGeometry;
using cuda::Conv2dParams;
using cuda::Conv2dType;

enum class Data { kExact, kRandom };
enum class Add { kNone, kOther, kY };

struct Shape {
  int height = 0, width = 0;  // of y
  int in = 0, out = 0;
  int kernel = 3, upsample = 0;
  Add add = Add::kNone;
  bool f32_out = false;
  Conv2dType type = Conv2dType::kBF16;
};

std::string describe(const Shape& s) {
  return std::to_string(s.width) + "x" + std::to_string(s.height) + " " + std::to_string(s.in) +
         "->" + std::to_string(s.out) + " k" + std::to_string(s.kernel) +
         (s.upsample != 0 ? " up" : "") + (s.add == Add::kNone ? "" : " add") +
         (s.f32_out ? " f32_out" : "") + (s.type == Conv2dType::kF32 ? " f32" : "");
}

std::string describe(const cuda::Conv2dConfig& c) {
  return "sm80_" + std::to_string(c.tile_m) + "x" + std::to_string(c.tile_n) + "x" +
         std::to_string(c.tile_k_bytes) + "_" + std::to_string(c.stages) +
         (c.any_channels ? "_any_channels" : "");
}

__host__ __device__ uint32_t hash(uint64_t i, uint32_t seed) {
  uint64_t z = i * 0x9e3779b97f4a7c15ull + seed * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return static_cast<uint32_t>(z >> 32);
}

// Exact: an integer of -8 .. 8 times `step`. Random: about normal (a sum of four uniform numbers),
// of deviation `step`.
__host__ __device__ float number(uint64_t i, uint32_t seed, Data data, float step) {
  if (data == Data::kExact) return step * (static_cast<int>(hash(i, seed) % 17) - 8);
  float sum = -2.0f;
  for (uint32_t j = 0; j < 4; ++j) sum += (hash(i, seed + 7919 * j) >> 8) * 0x1p-24f;
  return sum * 1.7320508f * step;
}

template <typename T>
__global__ void fill_kernel(T* to, int64_t count, uint32_t seed, Data data, float step) {
  const int64_t stride = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += stride)
    to[i] = static_cast<T>(number(i, seed, data, step));
}

void fill(void* to, int64_t count, Conv2dType type, uint32_t seed, Data data, float step) {
  if (type == Conv2dType::kF32) {
    fill_kernel<<<1024, 256>>>(static_cast<float*>(to), count, seed, data, step);
  } else {
    fill_kernel<<<1024, 256>>>(static_cast<__nv_bfloat16*>(to), count, seed, data, step);
  }
  require(cudaGetLastError(), "fill");
}

struct Mismatch {
  unsigned long long count, first;
  float got, want;
};

// relative, absolute 0: equal, and NaN is never equal.
template <typename T>
__global__ void compare_kernel(const T* got, const T* want, int64_t count, float relative,
                               float absolute, Mismatch* bad) {
  const int64_t stride = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += stride) {
    const float a = static_cast<float>(got[i]), b = static_cast<float>(want[i]);
    if (fabsf(a - b) <= absolute + relative * fmaxf(fabsf(a), fabsf(b))) continue;
    if (atomicAdd(&bad->count, 1ull) == 0) {
      bad->first = i;
      bad->got = a;
      bad->want = b;
    }
  }
}

struct Tally {
  int checked = 0, failed = 0;
};

// Buffers of one convolution; they grow as shapes need it.
class Operands {
 public:
  Operands() : bad_(sizeof(Mismatch)) {}

  // Exact data: up to 512 x 9 products of -8 .. 8 by -8 .. 8 stay below 2^24 steps of 2^-7, and
  // four weights of -8 .. 8 are a bf16.
  Conv2dParams prepare(const Shape& s, Data data, uint32_t seed) {
    shape_ = s;
    data_ = data;
    seed_ = seed;
    const bool exact = data == Data::kExact;
    const int64_t x_count = int64_t{s.height} * s.width * s.in / (s.upsample != 0 ? 4 : 1);
    y_type_ = s.f32_out ? Conv2dType::kF32 : s.type;
    y_count_ = int64_t{s.height} * s.width * s.out;
    x_.reserve(x_count * conv2d_element_bytes(s.type));
    y_.reserve(y_bytes() + kGuard);
    want_.reserve(y_bytes());
    add_.reserve(y_bytes());
    fill(x_.as<void>(), x_count, s.type, seed, data, exact ? 0.125f : 1.0f);
    fill(add_.as<void>(), y_count_, y_type_, seed + 1, data, exact ? 0.5f : 1.0f);

    const cuda::Conv2dPack pack{.in_channels = s.in,
                                .out_channels = s.out,
                                .kernel = s.kernel,
                                .upsample = s.upsample,
                                .type = s.type};
    w.resize(static_cast<size_t>(s.out) * s.in * s.kernel * s.kernel);
    const float step = exact ? 0.0625f : 1.0f / std::sqrt(1.0f * s.in * s.kernel * s.kernel);
    for (size_t i = 0; i < w.size(); ++i) w[i] = number(i, seed + 2, data, step);
    bias.resize(static_cast<size_t>(s.out));
    for (size_t i = 0; i < bias.size(); ++i)
      bias[i] = number(i, seed + 3, data, exact ? 0.25f : 1.0f);
    std::vector<unsigned char> packed(static_cast<size_t>(packed_conv2d_bytes(pack)));
    pack_conv2d_weights(pack, w.data(), packed.data());
    w_.reserve(packed.size());
    w_.upload(packed);
    bias_.reserve(bias.size() * 4);
    bias_.upload(bias);
    return {.x = x_.as<void>(),
            .w = w_.as<void>(),
            .bias = bias_.as<float>(),
            .add = s.add == Add::kNone ? nullptr
                   : s.add == Add::kY  ? y_.as<void>()
                                       : add_.as<void>(),
            .y = y_.as<void>(),
            .height = s.height,
            .width = s.width,
            .in_channels = s.in,
            .out_channels = s.out,
            .kernel = s.kernel,
            .upsample = s.upsample,
            .type = s.type,
            .f32_out = s.f32_out ? 1 : 0};
  }

  // Before a run: NaN everywhere, or what is added.
  void poison() {
    require(cudaMemset(y_.as<void>(), 0xff, y_bytes() + kGuard), "poison");
    if (shape_.add == Add::kY)
      require(cudaMemcpy(y_.as<void>(), add_.as<void>(), y_bytes(), cudaMemcpyDeviceToDevice), "y");
  }
  // What y holds now is what later runs must give.
  void keep() {
    require(cudaMemcpy(want_.as<void>(), y_.as<void>(), y_bytes(), cudaMemcpyDeviceToDevice),
            "keep");
  }

  void compare(const std::string& name, cudaError_t status, Tally& tally) {
    require(cudaDeviceSynchronize(), name.c_str());
    require(cudaMemset(bad_.as<void>(), 0, sizeof(Mismatch)), "memset");
    const bool exact = data_ == Data::kExact;
    if (y_type_ == Conv2dType::kF32) {
      compare_kernel<<<1024, 256>>>(y_.as<float>(), want_.as<float>(), y_count_,
                                    exact ? 0.0f : 1e-5f, exact ? 0.0f : 1e-4f,
                                    bad_.as<Mismatch>());
    } else {
      compare_kernel<<<1024, 256>>>(y_.as<__nv_bfloat16>(), want_.as<__nv_bfloat16>(), y_count_,
                                    exact ? 0.0f : 0x1p-7f, exact ? 0.0f : 1e-4f,
                                    bad_.as<Mismatch>());
    }
    Mismatch bad{};
    require(cudaMemcpy(&bad, bad_.as<void>(), sizeof(bad), cudaMemcpyDeviceToHost), "compare");
    std::vector<unsigned char> guard(kGuard);
    require(cudaMemcpy(guard.data(), y_.as<char>(y_bytes()), kGuard, cudaMemcpyDeviceToHost),
            "guard");
    bool whole = true;
    for (const unsigned char byte : guard) whole = whole && byte == 0xff;
    ++tally.checked;
    if (status == cudaSuccess && bad.count == 0 && whole) return;
    if (++tally.failed <= 40)
      std::printf(
          "FAIL %s, %s, %s data: %s, %llu differ, first at pixel %llu channel %llu: %.9g, "
          "expected %.9g%s\n",
          name.c_str(), describe(shape_).c_str(), exact ? "exact" : "random",
          cudaGetErrorString(status), bad.count, bad.first / shape_.out, bad.first % shape_.out,
          bad.got, bad.want, whole ? "" : ", written past the end");
  }

  // The formula on the CPU, over the picture that is upsampled for real. Exact data only.
  void want_from_loops() {
    const Shape& s = shape_;
    const int shrink = s.upsample != 0 ? 2 : 1, pad = (s.kernel - 1) / 2;
    std::vector<float> want(static_cast<size_t>(y_count_));
    std::vector<float> x(static_cast<size_t>(y_count_ / s.out / (shrink * shrink) * s.in));
    for (size_t i = 0; i < x.size(); ++i) x[i] = number(i, seed_, data_, 0.125f);
    for (int64_t at = 0; at < y_count_; ++at) {
      const int o = at % s.out, ox = at / s.out % s.width, oy = at / s.out / s.width;
      double sum = bias[static_cast<size_t>(o)];
      for (int t = 0; t < s.kernel * s.kernel; ++t) {
        const int iy = oy + t / s.kernel - pad, ix = ox + t % s.kernel - pad;
        if (iy < 0 || iy >= s.height || ix < 0 || ix >= s.width) continue;
        const int64_t pixel = int64_t{iy / shrink} * (s.width / shrink) + ix / shrink;
        for (int i = 0; i < s.in; ++i) {
          const size_t weight = (static_cast<size_t>(o) * s.in + i) * s.kernel * s.kernel + t;
          sum += static_cast<double>(x[static_cast<size_t>(pixel * s.in + i)]) * w[weight];
        }
      }
      if (s.add != Add::kNone) sum += number(at, seed_ + 1, data_, 0.5f);
      want[static_cast<size_t>(at)] = static_cast<float>(sum);
    }
    if (y_type_ == Conv2dType::kF32) {
      want_.upload(want);
      return;
    }
    std::vector<BFloat16> rounded(want.begin(), want.end());
    want_.upload(rounded);
  }

  std::vector<float> w, bias;

 private:
  static constexpr size_t kGuard = 256;
  size_t y_bytes() const { return static_cast<size_t>(y_count_) * conv2d_element_bytes(y_type_); }

  DeviceBuffer x_, w_, bias_, add_, y_, want_, bad_;
  Shape shape_;
  Data data_ = Data::kExact;
  uint32_t seed_ = 0;
  Conv2dType y_type_ = Conv2dType::kBF16;
  int64_t y_count_ = 0;
};

// plain against loops where they are cheap enough, then every config of sm80 against plain.
void check_shape(Operands& operands, const Shape& s, Data data, uint32_t seed, Tally& tally) {
  const Conv2dParams p = operands.prepare(s, data, seed);
  operands.poison();
  cudaError_t status = cuda::plain_conv2d(p, cudaStream_t{});
  const double products = 1.0 * s.height * s.width * s.in * s.out * s.kernel * s.kernel;
  if (data == Data::kExact && products < 3e7) {
    operands.want_from_loops();
    operands.compare("plain_conv2d", status, tally);
  } else {
    require(status, "plain_conv2d");
    require(cudaDeviceSynchronize(), "plain_conv2d");
  }
  operands.keep();
  if (s.type == Conv2dType::kF32) return;
  const auto configs = cuda::sm80_conv2d_configs();
  for (int config = 0; config < static_cast<int>(configs.size()); ++config) {
    if (cuda::sm80_conv2d_config_refusal(p, config) != nullptr) continue;
    operands.poison();
    status = cuda::sm80_conv2d_config(p, config, cudaStream_t{});
    operands.compare(describe(configs[static_cast<size_t>(config)]), status, tally);
  }
  const char* const reason = cuda::sm80_conv2d_refusal(p);
  if (reason != nullptr) {
    std::printf("sm80_conv2d refuses %s: %s\n", describe(s).c_str(), reason);
    return;
  }
  operands.poison();
  status = cuda::sm80_conv2d(p, cudaStream_t{});
  operands.compare("sm80_conv2d", status, tally);
}

// A convolution of the decoder and how often it runs.
struct Layer {
  Shape shape;
  int times;
};

// FLUX.2 VAE decoder at 1024 px: channels 512, 512, 256, 128 at 128, 256, 512, 1024 pixels; the
// attention's v is another op.
std::vector<Layer> decoder_layers() {
  const auto square = [](int size, int in, int out, int kernel = 3) {
    return Shape{.height = size, .width = size, .in = in, .out = out, .kernel = kernel};
  };
  const auto with = [](Shape s, Add add) {
    s.add = add;
    return s;
  };
  const auto up = [](Shape s) {
    s.upsample = 1;
    return s;
  };
  Shape last = square(1024, 128, 3);
  last.f32_out = true;
  return {{square(128, 32, 32, 1), 1},
          {square(128, 32, 512), 1},
          {square(128, 512, 512), 5},
          {with(square(128, 512, 512), Add::kY), 5},
          {square(128, 512, 512, 1), 2},
          {with(square(128, 512, 512, 1), Add::kY), 1},
          {up(square(256, 512, 512)), 1},
          {square(256, 512, 512), 3},
          {with(square(256, 512, 512), Add::kY), 3},
          {up(square(512, 512, 512)), 1},
          {square(512, 512, 256), 1},
          {square(512, 512, 256, 1), 1},
          {square(512, 256, 256), 2},
          {with(square(512, 256, 256), Add::kY), 3},
          {up(square(1024, 256, 256)), 1},
          {square(1024, 256, 128), 1},
          {square(1024, 256, 128, 1), 1},
          {square(1024, 128, 128), 2},
          {with(square(1024, 128, 128), Add::kY), 3},
          {last, 1}};
}

Tally check_everything() {
  Operands operands;
  Tally tally;
  std::mt19937 random(20261125);
  const auto one_of = [&](auto... choices) {
    const int list[] = {choices...};
    return list[random() % sizeof...(choices)];
  };
  for (uint32_t i = 0; i < 120; ++i) {
    Shape s{.height = static_cast<int>(1 + random() % (i % 4 == 0 ? 40 : 12)),
            .width = static_cast<int>(1 + random() % (i % 4 == 1 ? 90 : 14)),
            .in = one_of(1, 3, 4, 8, 16, 24, 32, 33, 40, 64, 72, 128, 136),
            .out = one_of(1, 3, 4, 8, 13, 24, 40, 64, 72, 128, 136, 264)};
    s.kernel = one_of(1, 3, 3);
    s.upsample = s.kernel == 3 && random() % 3 == 0 ? 1 : 0;
    if (s.upsample != 0) {
      s.height *= 2;
      s.width *= 2;
    }
    s.add = static_cast<Add>(random() % 3);
    s.f32_out = random() % 3 == 0;
    s.type = i % 5 == 4 ? Conv2dType::kF32 : Conv2dType::kBF16;
    check_shape(operands, s, Data::kExact, 100 * i, tally);
    if (i % 4 == 0) check_shape(operands, s, Data::kRandom, 100 * i + 50, tally);
  }
  std::printf("small shapes: %d checked, %d failed\n", tally.checked, tally.failed);
  uint32_t seed = 1u << 20;
  for (const Layer& layer : decoder_layers()) {
    check_shape(operands, layer.shape, Data::kExact, seed += 100, tally);
    if (layer.shape.height <= 256)
      check_shape(operands, layer.shape, Data::kRandom, seed + 50, tally);
  }
  std::printf("with the decoder's: %d checked, %d failed\n", tally.checked, tally.failed);
  return tally;
}

void time_decoder(Results& results) {
  Operands operands;
  const auto configs = cuda::sm80_conv2d_configs();
  const TimingOptions timing{.warm_up = 3, .runs = 15};
  double all_ms = 0.0, all_tera = 0.0;
  const auto layers = decoder_layers();
  std::printf("%-34s %5s %22s %9s %9s %9s %9s\n", "conv", "times", "config", "ms", "min", "max",
              "TFLOP/s");
  for (const Layer& layer : layers) {
    const Conv2dParams p = operands.prepare(layer.shape, Data::kRandom, 77);
    operands.poison();
    // With add = y sums grow from run to run; far below overflow, and time does not depend on it.
    const Times t =
        time_on_device(timing, [&](cudaStream_t stream) { return cuda::sm80_conv2d(p, stream); });
    const Conv2dGeometry g = conv2d_geometry(p);
    const int m = g.pixels * g.phases, k = g.taps * p.in_channels;
    const int choice = cuda::sm80_conv2d_choice(p);
    const std::string name = describe(layer.shape);
    const std::string config = describe(configs[static_cast<size_t>(choice)]);
    std::printf("%-34s %5d %22s %9.4f %9.4f %9.4f %9.1f\n", name.c_str(), layer.times,
                config.c_str(), t.median_ms, t.min_ms, t.max_ms,
                tera_per_second(m, p.out_channels, k, t.median_ms));
    results.add(name.c_str(), m, p.out_channels, k, "sm80_conv2d/" + config, t);
    all_ms += layer.times * t.median_ms;
    all_tera += layer.times * 2e-12 * m * p.out_channels * k;
  }
  std::printf("all convolutions of the decoder: %.3f ms, %.3f TFLOP, %.1f TFLOP/s\n", all_ms,
              all_tera, 1e3 * all_tera / all_ms);
  results.sample("after the decoder");
  results.write();
}

// Every config on the layers that take most of the time.
void time_configs(Results& results) {
  Operands operands;
  const auto configs = cuda::sm80_conv2d_configs();
  const Shape shapes[] = {{.height = 256, .width = 256, .in = 512, .out = 512, .add = Add::kY},
                          {.height = 512, .width = 512, .in = 256, .out = 256, .add = Add::kY},
                          {.height = 1024, .width = 1024, .in = 128, .out = 128, .add = Add::kY},
                          {.height = 512, .width = 512, .in = 512, .out = 512, .upsample = 1},
                          {.height = 128, .width = 128, .in = 512, .out = 512},
                          {.height = 1024, .width = 1024, .in = 128, .out = 3, .f32_out = true}};
  for (const Shape& s : shapes) {
    const Conv2dParams p = operands.prepare(s, Data::kRandom, 78);
    const Conv2dGeometry g = conv2d_geometry(p);
    const int m = g.pixels * g.phases, k = g.taps * p.in_channels;
    std::printf("%s\n", describe(s).c_str());
    for (int config = 0; config < static_cast<int>(configs.size()); ++config) {
      if (cuda::sm80_conv2d_config_refusal(p, config) != nullptr) continue;
      const auto& c = configs[static_cast<size_t>(config)];
      if (c.any_channels) continue;
      operands.poison();
      const Times t = time_on_device({.warm_up = 2, .runs = 9}, [&](cudaStream_t stream) {
        return cuda::sm80_conv2d_config(p, config, stream);
      });
      std::printf("  %-24s %9.4f ms (%.4f to %.4f) %9.1f TFLOP/s\n", describe(c).c_str(),
                  t.median_ms, t.min_ms, t.max_ms,
                  tera_per_second(m, p.out_channels, k, t.median_ms));
      results.add(describe(s).c_str(), m, p.out_channels, k, describe(c), t);
    }
    const Times t = time_on_device({.warm_up = 1, .runs = 3}, [&](cudaStream_t stream) {
      return cuda::plain_conv2d(p, stream);
    });
    std::printf("  %-24s %9.4f ms %37.1f TFLOP/s\n", "plain_conv2d", t.median_ms,
                tera_per_second(m, p.out_channels, k, t.median_ms));
    results.add(describe(s).c_str(), m, p.out_channels, k, "plain_conv2d", t);
    results.write();
  }
  results.sample("after the configs");
}

int run(int argc, char** argv) {
  bool check = true, time = true;
  const char* json = nullptr;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--check-only") == 0) {
      time = false;
    } else if (std::strcmp(argv[i], "--bench-only") == 0) {
      check = false;
    } else if (std::strcmp(argv[i], "--json") == 0 && i + 1 < argc) {
      json = argv[++i];
    } else {
      std::fprintf(stderr, "usage: check_conv2d [--check-only | --bench-only] [--json PATH]\n");
      return 2;
    }
  }
  Results results(json, argc, argv);
  Tally tally;
  if (check) {
    tally = check_everything();
    results.set_checks(tally.checked, tally.failed);
  }
  if (time && tally.failed == 0) {
    time_decoder(results);
    time_configs(results);
  }
  results.write();
  return tally.failed == 0 ? 0 : 1;
}

}  // namespace
}  // namespace intaglio::bench

int main(int argc, char** argv) { return intaglio::bench::run(argc, argv); }
