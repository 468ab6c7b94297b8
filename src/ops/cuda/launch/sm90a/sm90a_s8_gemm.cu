#include <cuda.h>

#include <array>

#include "ops/cuda/kernels/sm90a_s8_gemm.cuh"
#include "ops/cuda/launch/dynamic_shared.h"
#include "ops/cuda/launch/s8_gemm_config.h"
#include "ops/cuda/launch/sm90a_s8_gemm.h"
#include "ops/cuda/launch/tensor_map.h"

namespace intaglio::cuda {
namespace {

struct Box {
  uint32_t columns, rows;
};

// A row-major matrix [rows, columns] of `bytes`-byte elements, rows `stride` bytes apart, moved in
// boxes with the 128-byte swizzle.
bool encode(CUtensorMap& map, CUtensorMapDataType type, const void* data, int64_t rows,
            int64_t columns, int64_t stride, Box box) {
  return encode_tensor_map<2>(map, type, data,
                              {{{columns, 0, box.columns}, {rows, stride, box.rows}}});
}

bool aligned_16(const void* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; }

// The fast epilogue: 16-bit rows at multiples of 16 bytes, scales and bias read in pairs. The copy
// engine bounds what it stores by whole 16 bytes, not by elements: columns that are no multiple of
// 8 would spill over what follows them.
bool tma_store_fits(const S8GemmParams& p) {
  const auto pairs = [](const float* x) { return reinterpret_cast<uintptr_t>(x) % 8 == 0; };
  const bool half = p.out_type == DType::kBF16 || p.out_type == DType::kF16;
  return half && p.ldo % 8 == 0 && out_columns(p) % 8 == 0 && aligned_16(p.out) &&
         pairs(p.w_scale_col) && pairs(p.bias);
}

constexpr int kMostSplits = 64;

int k_tiles_of(const S8GemmParams& p, int tile_k) { return (p.k - 1) / tile_k + 1; }

// `split`: of k; with several, p.out is the workspace.
struct Launch {
  Sm90aS8GemmSchedule how;
  S8SplitK split;
};

template <typename Config>
cudaError_t launch(const S8GemmParams& p, const Launch& l, cudaStream_t stream) {
  Sm90aMaps maps{};
  constexpr uint32_t kHalfW = Config::kN / Config::kCluster;
  bool good =
      encode(maps.a, CU_TENSOR_MAP_DATA_TYPE_UINT8, p.a, p.m, p.k, p.lda,
             {Config::kK, Config::kM}) &&
      encode(maps.w, CU_TENSOR_MAP_DATA_TYPE_UINT8, p.w, p.n, p.k, p.ldw, {Config::kK, kHalfW});
  if (Config::kTmaStore) {
    good = good && encode(maps.out, CU_TENSOR_MAP_DATA_TYPE_UINT16, p.out, p.m, out_columns(p),
                          2 * p.ldo, {64, 64});
  }
  if (Config::kSide) {
    const auto side = [&](CUtensorMap& map, const uint16_t* data, int64_t rows, uint32_t box_rows) {
      return encode(map, CU_TENSOR_MAP_DATA_TYPE_UINT16, data, rows, p.side_rank, 2 * p.side_rank,
                    {kSm90aSideRank, box_rows});
    };
    good = good && side(maps.side_x, p.side_x, p.m, Config::kM) &&
           side(maps.side_w, p.side_w, p.n, kHalfW);
  }
  if (!good) return cudaErrorInvalidValue;
  constexpr int kRows = Config::kM * Config::kCluster;
  const ClusterSchedule schedule{(p.m - 1) / kRows + 1,   (p.n - 1) / Config::kN + 1,
                                 l.split.splits,          k_tiles_of(p, Config::kK),
                                 l.split.steps_per_split, l.how.band};
  const int64_t needed = int64_t{schedule.count()} * Config::kCluster;
  const int most = l.how.blocks / Config::kCluster * Config::kCluster;
  const int blocks = static_cast<int>(needed < most ? needed : most);

  const auto kernel = sm90a_s8_gemm<Config>;
  if (const cudaError_t status = allow_dynamic_shared(kernel, Config::kSmemBytes);
      status != cudaSuccess)
    return status;
  cudaLaunchConfig_t settings{};
  settings.gridDim = dim3(blocks);
  settings.blockDim = dim3(Config::kThreads);
  settings.dynamicSmemBytes = Config::kSmemBytes;
  settings.stream = stream;
  cudaLaunchAttribute cluster{};
  cluster.id = cudaLaunchAttributeClusterDimension;
  cluster.val.clusterDim = {Config::kCluster, 1, 1};
  settings.attrs = &cluster;
  settings.numAttrs = 1;
  return cudaLaunchKernelEx(&settings, kernel, p, maps, schedule);
}

template <int kN, int kStages, bool kGated>
cudaError_t dispatch_store(const S8GemmParams& p, const Launch& how, cudaStream_t stream) {
  if constexpr (!kGated || kN % 128 == 0) {
    const bool fits = tma_store_fits(p);
    if (fits && p.side_rank > 0 && p.out_type == DType::kBF16) {
      using Side = Sm90aConfig<kN, kStages, kGated, Sm90aStore::kTmaBF16, true>;
      return launch<Side>(p, how, stream);
    }
    if (fits && p.side_rank == 0) {
      return p.out_type == DType::kBF16
                 ? launch<Sm90aConfig<kN, kStages, kGated, Sm90aStore::kTmaBF16>>(p, how, stream)
                 : launch<Sm90aConfig<kN, kStages, kGated, Sm90aStore::kTmaF16>>(p, how, stream);
    }
  }
  return launch<Sm90aConfig<kN, kStages, kGated, Sm90aStore::kPlain>>(p, how, stream);
}

template <int kN, int kStages>
cudaError_t dispatch(const S8GemmParams& p, const Launch& how, cudaStream_t stream) {
  if (is_gated(p.epilogue) && p.out_type != DType::kI32)
    return dispatch_store<kN, kStages, true>(p, how, stream);
  return dispatch_store<kN, kStages, false>(p, how, stream);
}

struct Entry {
  Sm90aS8GemmConfig config;
  cudaError_t (*run)(const S8GemmParams&, const Launch&, cudaStream_t);
};

template <int kN, int kStages>
constexpr Entry entry(const char* name) {
  using Config = Sm90aConfig<kN, kStages, false, Sm90aStore::kTmaBF16>;
  return {{name, Config::kM, kN, Config::kK, kStages, Config::kSmemBytes}, dispatch<kN, kStages>};
}

constexpr std::array kEntries{
    entry<256, 4>("128x256x128"),
    entry<192, 4>("128x192x128"),
    entry<128, 6>("128x128x128"),
};

constexpr auto kConfigs = [] {
  std::array<Sm90aS8GemmConfig, kEntries.size()> configs{};
  for (size_t i = 0; i < configs.size(); ++i) configs[i] = kEntries[i].config;
  return configs;
}();

}  // namespace

std::span<const Sm90aS8GemmConfig> sm90a_s8_gemm_configs() { return kConfigs; }

const char* refuse_sm90a_s8_gemm(const S8GemmParams& p) {
  if (p.m < 1 || p.n < 1 || p.k < 1) return "m, n and k must be at least 1";
  if (p.lda % 16 != 0 || p.ldw % 16 != 0) return "row strides of a and w must be multiples of 16";
  if (!aligned_16(p.a) || !aligned_16(p.w)) return "a and w must be 16-byte aligned";
  constexpr int64_t kLeastTile = 128 * 128;
  if (int64_t{p.m} * p.n / kLeastTile > (1 << 30) / kMostSplits)
    return "m x n has more than 2^24 tiles";
  return nullptr;
}

size_t sm90a_s8_gemm_workspace_bytes(const S8GemmParams& p, int config, int split_k) {
  if (config < 0 || config >= static_cast<int>(kEntries.size())) return 0;
  const int tile_k = kEntries[static_cast<size_t>(config)].config.tile_k;
  const S8SplitK split = split_k_plan(p, k_tiles_of(p, tile_k), split_k);
  return split.splits > 1 ? split.partial_bytes(p) : 0;
}

cudaError_t sm90a_s8_gemm(const S8GemmParams& p, int config, const Sm90aS8GemmSchedule& how,
                          void* workspace, cudaStream_t stream) {
  if (config < 0 || config >= static_cast<int>(kEntries.size()) || how.band < 1 || how.blocks < 2 ||
      refuse_sm90a_s8_gemm(p) != nullptr)
    return cudaErrorInvalidValue;
  const Entry& entry = kEntries[static_cast<size_t>(config)];
  const S8SplitK split = split_k_plan(p, k_tiles_of(p, entry.config.tile_k), how.split_k);
  if (split.splits == 1) return entry.run(p, {how, split}, stream);
  if (workspace == nullptr || split.splits > kMostSplits) return cudaErrorInvalidValue;
  const cudaError_t status =
      entry.run(partial_sums_params(p, split, workspace), {how, split}, stream);
  if (status != cudaSuccess) return status;
  return s8_reduce(p, static_cast<const int32_t*>(workspace), split, stream);
}

}  // namespace intaglio::cuda
