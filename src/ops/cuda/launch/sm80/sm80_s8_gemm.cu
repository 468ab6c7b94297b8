#include <array>
#include <tuple>
#include <utility>

#include "ops/cuda/kernels/sm80_s8_gemm_configs.cuh"
#include "ops/cuda/launch/dynamic_shared.h"
#include "ops/cuda/launch/sm80_s8_gemm.h"

namespace intaglio::cuda {
namespace {

using Configs = Sm80S8GemmConfigs;
constexpr size_t kConfigCount = std::tuple_size_v<Configs>;

// "sm80_<tile_m>x<tile_n>x<tile_k>_<stages>", and "_any_rows" if rows may start anywhere.
template <class C>
struct ConfigName {
  static constexpr std::array<char, 40> kText = [] {
    std::array<char, 40> text{};
    size_t length = 0;
    const auto put = [&](const char* part) {
      while (*part != 0) text[length++] = *part++;
    };
    const auto put_number = [&](int number) {
      int power = 1;
      while (number / power >= 10) power *= 10;
      for (; power > 0; power /= 10) text[length++] = static_cast<char>('0' + number / power % 10);
    };
    put("sm80_");
    put_number(C::kTileM);
    put("x");
    put_number(C::kTileN);
    put("x");
    put_number(C::kTileK);
    put("_");
    put_number(C::kStages);
    if (!C::kAligned) put("_any_rows");
    return text;
  }();
};

// Fills the numbers of a row from the type that compiles it, so that they cannot disagree.
template <size_t... kIndex>
constexpr std::array<S8GemmConfig, kConfigCount> make_configs(std::index_sequence<kIndex...>) {
  const auto row = []<class C>(C) {
    return S8GemmConfig{.name = ConfigName<C>::kText.data(),
                        .tile_m = C::kTileM,
                        .tile_n = C::kTileN,
                        .tile_k = C::kTileK,
                        .stages = C::kStages,
                        .threads = C::kThreads,
                        .smem_bytes = C::kSmemBytes,
                        .ctas_per_sm = C::kCtasPerSm,
                        .any_rows = !C::kAligned};
  };
  return {row(std::tuple_element_t<kIndex, Configs>{})...};
}
constexpr auto kConfigs = make_configs(std::make_index_sequence<kConfigCount>{});

using LaunchFunction = cudaError_t (*)(const Sm80S8GemmArgs&, int blocks, cudaStream_t);

template <class C>
cudaError_t launch_config(const Sm80S8GemmArgs& args, int blocks, cudaStream_t stream) {
  const cudaError_t status = allow_dynamic_shared(sm80_s8_gemm_kernel<C>, C::kSmemBytes);
  if (status != cudaSuccess) return status;
  sm80_s8_gemm_kernel<C><<<blocks, C::kThreads, C::kSmemBytes, stream>>>(args);
  return cudaPeekAtLastError();
}

template <size_t... kIndex>
constexpr std::array<LaunchFunction, kConfigCount> make_launchers(std::index_sequence<kIndex...>) {
  return {launch_config<std::tuple_element_t<kIndex, Configs>>...};
}
constexpr auto kLaunchers = make_launchers(std::make_index_sequence<kConfigCount>{});

int device_attribute(cudaDeviceAttr attribute) {
  int device = 0, value = 0;
  if (cudaGetDevice(&device) != cudaSuccess) return 0;
  return cudaDeviceGetAttribute(&value, attribute, device) == cudaSuccess ? value : 0;
}

int div_up(int a, int b) { return static_cast<int>((int64_t{a} + b - 1) / b); }

// Blocks of this config that the device runs at the same time.
int resident_blocks(const S8GemmConfig& c) {
  constexpr int kReservedPerBlock = 1024;
  const int sms = device_attribute(cudaDevAttrMultiProcessorCount);
  const int smem = device_attribute(cudaDevAttrMaxSharedMemoryPerMultiprocessor);
  const int fit = smem / (c.smem_bytes + kReservedPerBlock);
  const int per_sm = fit < c.ctas_per_sm ? fit : c.ctas_per_sm;
  return sms * (per_sm < 1 ? 1 : per_sm);
}

}  // namespace

std::span<const S8GemmConfig> sm80_s8_gemm_configs() { return kConfigs; }

const char* sm80_s8_gemm_refusal(const S8GemmParams& p, int config) {
  if (config < 0 || config >= static_cast<int>(kConfigCount)) return "there is no such config";
  if (const char* reason = refuse_s8_gemm_params(p)) return reason;
  const S8GemmConfig& c = kConfigs[static_cast<size_t>(config)];
  if (!c.any_rows) {
    if (!s8_rows_aligned(p)) return "a, w, lda and ldw must be multiples of 16 bytes";
    constexpr int64_t kMost = 0xffffffff;
    if (p.m * p.lda > kMost || p.n * p.ldw > kMost) return "a or w spans 4 GiB or more";
  }
  if (device_attribute(cudaDevAttrComputeCapabilityMajor) < 8) return "needs sm_80 or newer";
  if (c.smem_bytes > device_attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin))
    return "the device has too little shared memory for this config";
  return nullptr;
}

size_t sm80_s8_gemm_workspace_bytes(const S8GemmParams& p, int config, int split_k) {
  if (config < 0 || config >= static_cast<int>(kConfigCount)) return 0;
  const S8GemmConfig& c = kConfigs[static_cast<size_t>(config)];
  const S8SplitK split = split_k_plan(p, div_up(p.k, c.tile_k), split_k);
  return split.splits > 1 ? split.partial_bytes(p) : 0;
}

cudaError_t sm80_s8_gemm(const S8GemmParams& p, const Sm80Launch& launch, void* workspace,
                         cudaStream_t stream) {
  if (sm80_s8_gemm_refusal(p, launch.config) != nullptr) return cudaErrorInvalidValue;
  const S8GemmConfig& c = kConfigs[static_cast<size_t>(launch.config)];
  const int k_tiles = div_up(p.k, c.tile_k);
  const S8SplitK split = split_k_plan(p, k_tiles, launch.split_k);
  if (split.splits > 1 && workspace == nullptr) return cudaErrorInvalidValue;

  const int resident = resident_blocks(c);
  Sm80S8GemmArgs args{};
  args.p = split.splits > 1 ? partial_sums_params(p, split, workspace) : p;
  args.tiles_m = div_up(p.m, c.tile_m);
  args.tiles_n = div_up(p.n, c.tile_n);
  args.group_n = launch.group_n > 0 ? launch.group_n
                                    : raster_group(resident, c.tile_m, c.tile_n, args.tiles_n);
  args.k_tiles = k_tiles;
  args.k_tiles_per_split = split.steps_per_split;
  args.splits = split.splits;
  const int64_t work = int64_t{args.tiles_m} * args.tiles_n * args.splits;
  // Blocks step through the work by their number, so the sum of both must stay an int; so must a
  // raster group.
  if (work > (1 << 30) || int64_t{args.tiles_m} * args.group_n > (1 << 30))
    return cudaErrorInvalidValue;

  const int blocks = launch.persistent && work > resident ? resident : static_cast<int>(work);
  const cudaError_t status = kLaunchers[static_cast<size_t>(launch.config)](args, blocks, stream);
  if (status != cudaSuccess || split.splits == 1) return status;
  return s8_reduce(p, static_cast<const int32_t*>(workspace), split, stream);
}

}  // namespace intaglio::cuda
