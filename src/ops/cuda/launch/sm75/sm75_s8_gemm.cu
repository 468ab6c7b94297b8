#include <array>

#include "ops/cuda/kernels/sm75_s8_gemm.cuh"
#include "ops/cuda/launch/sm75_s8_gemm.h"

namespace intaglio::cuda {
namespace {

constexpr std::array<S8GemmConfig, 1> kConfigs{
    S8GemmConfig{.name = "sm75_128x128x64_2",
                 .tile_m = Sm75S8GemmConfig::kTileM,
                 .tile_n = Sm75S8GemmConfig::kTileN,
                 .tile_k = Sm75S8GemmConfig::kTileK,
                 .stages = 2,
                 .threads = Sm75S8GemmConfig::kThreads,
                 .smem_bytes = Sm75S8GemmConfig::kSmemBytes,
                 .ctas_per_sm = 1,
                 .any_rows = true}};

// Columns of tiles in a raster group: 80 blocks in flight (a T4) are then about 9 x 8.
constexpr int kGroupN = 8;

int div_up(int a, int b) { return static_cast<int>((int64_t{a} + b - 1) / b); }

}  // namespace

std::span<const S8GemmConfig> sm75_s8_gemm_configs() { return kConfigs; }

const char* sm75_s8_gemm_refusal(const S8GemmParams& p) { return refuse_s8_gemm_params(p); }

cudaError_t sm75_s8_gemm(const S8GemmParams& p, cudaStream_t stream) {
  if (sm75_s8_gemm_refusal(p) != nullptr) return cudaErrorInvalidValue;
  const S8GemmConfig& c = kConfigs[0];
  Sm75S8GemmArgs args{};
  args.p = p;
  args.tiles_m = div_up(p.m, c.tile_m);
  args.tiles_n = div_up(p.n, c.tile_n);
  args.group_n = kGroupN;
  args.k_tiles = div_up(p.k, c.tile_k);
  args.aligned = s8_rows_aligned(p);
  const int64_t tiles = int64_t{args.tiles_m} * args.tiles_n;
  if (tiles > (1 << 30) || int64_t{args.tiles_m} * kGroupN > (1 << 30))
    return cudaErrorInvalidValue;
  sm75_s8_gemm_kernel<<<static_cast<unsigned>(tiles), c.threads, c.smem_bytes, stream>>>(args);
  return cudaPeekAtLastError();
}

}  // namespace intaglio::cuda
