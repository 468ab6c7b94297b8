#include <array>
#include <tuple>
#include <utility>

#include "ops/cuda/kernels/plain_conv2d.cuh"
#include "ops/cuda/kernels/sm80_conv2d_configs.cuh"
#include "ops/cuda/launch/arguments.h"
#include "ops/cuda/launch/conv2d.h"
#include "ops/cuda/launch/dynamic_shared.h"

namespace intaglio::cuda {
namespace {

using Configs = Sm80Conv2dConfigs;
constexpr size_t kConfigCount = std::tuple_size_v<Configs>;

// Fills the numbers of a row from the type that compiles it, so that they cannot disagree.
template <size_t... kIndex>
constexpr std::array<Conv2dConfig, kConfigCount> make_configs(std::index_sequence<kIndex...>) {
  const auto row = []<class C>(C) {
    return Conv2dConfig{.tile_m = C::kTileM,
                        .tile_n = C::kTileN,
                        .tile_k_bytes = C::kTileK,
                        .stages = C::kStages,
                        .threads = C::kThreads,
                        .smem_bytes = C::kSmemBytes,
                        .ctas_per_sm = C::kCtasPerSm,
                        .any_channels = C::kAnyChannels};
  };
  return {row(std::tuple_element_t<kIndex, Configs>{})...};
}
constexpr auto kConfigs = make_configs(std::make_index_sequence<kConfigCount>{});

using LaunchFunction = cudaError_t (*)(const Sm80Conv2dArgs&, int blocks, cudaStream_t);

template <class C>
cudaError_t launch_config(const Sm80Conv2dArgs& args, int blocks, cudaStream_t stream) {
  const cudaError_t status = allow_dynamic_shared(sm80_conv2d_kernel<C>, C::kSmemBytes);
  if (status != cudaSuccess) return status;
  sm80_conv2d_kernel<C><<<blocks, C::kThreads, C::kSmemBytes, stream>>>(args);
  return cudaPeekAtLastError();
}

template <size_t... kIndex>
constexpr std::array<LaunchFunction, kConfigCount> make_launchers(std::index_sequence<kIndex...>) {
  return {launch_config<std::tuple_element_t<kIndex, Configs>>...};
}
constexpr auto kLaunchers = make_launchers(std::make_index_sequence<kConfigCount>{});

Conv2dDevice current_device() {
  return {.sms = device_attribute(cudaDevAttrMultiProcessorCount),
          .smem_per_block = device_attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin),
          .smem_per_sm = device_attribute(cudaDevAttrMaxSharedMemoryPerMultiprocessor)};
}

// What no kernel takes.
const char* refuse_params(const Conv2dParams& p) {
  if (p.height < 1 || p.width < 1 || p.in_channels < 1 || p.out_channels < 1)
    return "sizes must be positive";
  if (p.kernel != 1 && p.kernel != 3) return "the kernel must be 1 or 3";
  if (p.type != Conv2dType::kF32 && p.type != Conv2dType::kBF16)
    return "pictures must be float or bf16";
  if (p.upsample != 0 && p.kernel != 3) return "only a kernel of 3 reads through an upsampling";
  if (p.upsample != 0 && (p.height % 2 != 0 || p.width % 2 != 0))
    return "an upsampled size must be even";
  if (p.x == nullptr || p.w == nullptr || p.y == nullptr) return "x, w and y must not be null";
  const int element = conv2d_element_bytes(p.type), out_element = p.f32_out != 0 ? 4 : element;
  if (!is_aligned(p.x, element) || !is_aligned(p.w, 16) || !is_aligned(p.bias, 4) ||
      !is_aligned(p.y, out_element) || !is_aligned(p.add, out_element))
    return "a pointer is not aligned to its type, or w not to 16 bytes";
  // Pixels are counted in int, with a tile to spare.
  if (int64_t{p.height} * p.width > 1 << 30) return "more than 2^30 pixels";
  // So are output tiles, of at least 64 x 16.
  const int64_t columns = div_up(p.out_channels, 16) * (p.upsample != 0 ? 4 : 1);
  if (div_up(int64_t{p.height} * p.width, 64) * columns > 1 << 30)
    return "pixels times channels are too many";
  return nullptr;
}

}  // namespace

std::span<const Conv2dConfig> sm80_conv2d_configs() { return kConfigs; }

const char* sm80_conv2d_config_refusal(const Conv2dParams& p, int config) {
  if (config < 0 || config >= static_cast<int>(kConfigCount)) return "there is no such config";
  if (const char* reason = refuse_params(p)) return reason;
  if (p.type != Conv2dType::kBF16) return "pictures are not bf16";
  const Conv2dConfig& c = kConfigs[static_cast<size_t>(config)];
  const Conv2dGeometry g = conv2d_geometry(p);
  if (!c.any_channels && (p.in_channels % 8 != 0 || !is_aligned(p.x, 16)))
    return "pixels of x must start at multiples of 16 bytes";
  constexpr int64_t kMost = 0xffffffff;
  if (int64_t{g.pixels} * p.in_channels * 2 > kMost ||
      int64_t{g.phases} * p.out_channels * g.taps * g.channels_padded > kMost / 2)
    return "x or w spans 4 GiB or more";
  if (device_attribute(cudaDevAttrComputeCapabilityMajor) < 8) return "needs sm_80 or newer";
  if (c.smem_bytes > device_attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin))
    return "the device has too little shared memory for this config";
  return nullptr;
}

int sm80_conv2d_choice(const Conv2dParams& p) {
  if (refuse_params(p) != nullptr) return -1;
  return choose_conv2d_config(kConfigs, p, current_device());
}

const char* sm80_conv2d_refusal(const Conv2dParams& p) {
  if (const char* reason = refuse_params(p)) return reason;
  if (device_attribute(cudaDevAttrComputeCapabilityMajor) < 8) return "needs sm_80 or newer";
  const int config = sm80_conv2d_choice(p);
  if (config < 0) return "the device has too little shared memory for any config";
  return sm80_conv2d_config_refusal(p, config);
}

cudaError_t sm80_conv2d_config(const Conv2dParams& p, int config, cudaStream_t stream) {
  if (sm80_conv2d_config_refusal(p, config) != nullptr) return cudaErrorInvalidValue;
  const Conv2dConfig& c = kConfigs[static_cast<size_t>(config)];
  Sm80Conv2dArgs args{.p = p, .g = conv2d_geometry(p), .tiles_m = 0, .tiles_n = 0, .k_tiles = 0};
  args.tiles_m = static_cast<int32_t>(div_up(args.g.pixels, c.tile_m));
  args.tiles_n = static_cast<int32_t>(div_up(p.out_channels, c.tile_n));
  args.k_tiles =
      static_cast<int32_t>(args.g.taps * div_up(2 * int64_t{p.in_channels}, c.tile_k_bytes));
  const int64_t tiles = int64_t{args.tiles_m} * args.tiles_n * args.g.phases;
  const Conv2dDevice device = current_device();
  const int64_t resident = int64_t{device.sms} * conv2d_resident_blocks(c, device);
  return kLaunchers[static_cast<size_t>(config)](
      args, static_cast<int>(tiles < resident ? tiles : resident), stream);
}

cudaError_t sm80_conv2d(const Conv2dParams& p, cudaStream_t stream) {
  const int config = sm80_conv2d_choice(p);
  return config < 0 ? cudaErrorInvalidValue : sm80_conv2d_config(p, config, stream);
}

const char* plain_conv2d_refusal(const Conv2dParams& p) { return refuse_params(p); }

cudaError_t plain_conv2d(const Conv2dParams& p, cudaStream_t stream) {
  if (plain_conv2d_refusal(p) != nullptr) return cudaErrorInvalidValue;
  using C = PlainConv2dConfig;
  const PlainConv2dArgs args{.p = p,
                             .g = conv2d_geometry(p),
                             .tiles_n = static_cast<int32_t>(div_up(p.out_channels, C::kTileN))};
  const auto blocks =
      static_cast<unsigned>(div_up(args.g.pixels, C::kTileM) * args.tiles_n * args.g.phases);
  if (p.type == Conv2dType::kF32) {
    plain_conv2d_kernel<float><<<blocks, C::kThreads, C::kSmemBytes, stream>>>(args);
  } else {
    plain_conv2d_kernel<__nv_bfloat16><<<blocks, C::kThreads, C::kSmemBytes, stream>>>(args);
  }
  return cudaPeekAtLastError();
}

}  // namespace intaglio::cuda
