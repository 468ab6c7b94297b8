// int8 GEMM on Hopper: wgmma fed by the copy engine, persistent, warp-specialised. Formula and
// layouts: ops/cuda/s8_gemm_params.h.
//
//   cluster of two blocks: the same columns of W, neighbouring rows of A; each loads half of the W
//   tile and multicasts it to both
//
//                W tile [N, 128] (shared by both)             block = 3 warpgroups
//               +----------------+                            0: producer, one thread issues loads
//   A [128,128] | acc  64 x N    |  warpgroup 1               1, 2: wgmma m64 n(N) k32, then the epilogue of 64 rows
//   block 0     | acc  64 x N    |  warpgroup 2
//               +----------------+
//   A [128,128] | acc  64 x N    |  ...
//   block 1     | acc  64 x N    |
//
// A stage is 128 bytes of k: A 16 KB, W 128 N bytes, both in the 128-byte swizzle. `full[s]` counts
// the bytes of stage s; `empty[s]` the consuming warps of both blocks, since either block's loads
// write into the other's W tile.
// The two consumer warpgroups do not wait for each other: while one is in its epilogue the other
// has the tensor cores, and the producer already loads the next tile. Why N = 256: wgmma reads (64
// + N) x 32 bytes of shared memory for 64 x N x 32 products; at N = 256 that is 80 of 128 bytes a
// cycle, and the cluster takes (128 + N / 2) x K bytes of L2 traffic per block and tile: 32 bytes a
// cycle at the full rate, about what L2 delivers. Few tiles: k is cut into splits, work items like
// tiles, that write int32 partial sums: p.out is then [splits][m, ldo] int32 in the workspace
// (kernels/s8_reduce.cuh adds them).
// A side branch (s8_gemm_params.h): 64 of its rank are 128 bytes of bf16, so its operands pass
// through the same stages, one or more behind those of k. The sums, made floats in place and
// multiplied by their rows' scales, take part in bf16 products there, one n(N) k16 for each 16 of
// the rank. Where plain stores are, the epilogue adds it.
// Numeric contract: int32 sums are exact; y = float(acc) * (a_scale * w_scale) + bias, each step
// rounded, as the CPU reference does.
#pragma once

#include <cuda.h>

#include "ops/cuda/ptx/cluster.cuh"
#include "ops/cuda/ptx/mbarrier.cuh"
#include "ops/cuda/ptx/tma.cuh"
#include "ops/cuda/ptx/wgmma.cuh"
#include "ops/cuda/ptx/wgmma_bf16.cuh"
#include "ops/cuda/s8_gemm_params.h"
#include "ops/cuda/tile/cluster_schedule.h"
#include "ops/cuda/tile/epilogue.cuh"

namespace intaglio::cuda {

// How finished tiles leave: by the copy engine (16-bit outputs, rows of a multiple of 16 bytes), or
// by plain stores (everything else).
enum class Sm90aStore { kTmaBF16, kTmaF16, kPlain };

// kSide: with a side branch, of tiles that the copy engine stores. A kernel of its own: the others
// keep their registers.
template <int kN_, int kStages_, bool kGated_, Sm90aStore kStore_, bool kSide_ = false>
struct Sm90aConfig {
  static constexpr int kM = 128, kN = kN_, kK = 128;
  static constexpr int kStages = kStages_;
  static constexpr bool kGated = kGated_, kSide = kSide_;
  static constexpr Sm90aStore kStore = kStore_;
  static constexpr bool kTmaStore = kStore != Sm90aStore::kPlain;
  static constexpr DType kOutType = kStore == Sm90aStore::kTmaF16 ? DType::kF16 : DType::kBF16;
  static constexpr int kCluster = 2;
  static constexpr int kConsumers = 2, kThreads = 128 * (1 + kConsumers);
  static constexpr int kBytesA = kM * kK, kBytesW = kN * kK, kBytesStage = kBytesA + kBytesW;
  // Finished columns leave in pieces of 64 x 64 16-bit numbers, two buffers a warpgroup.
  static constexpr int kBytesPiece = 64 * 64 * 2, kPieces = 2;
  static constexpr int kBytesOut = kTmaStore ? kConsumers * kPieces * kBytesPiece : 0;
  static constexpr int kSmemBytes = kStages * kBytesStage + kBytesOut + 2 * kStages * 8;
  static_assert(kN % 64 == 0 && kN <= 256);
  static_assert(kSmemBytes <= 232448, "shared memory of a block on sm_90");
};

struct Sm90aMaps {
  CUtensorMap a, w, out;
  CUtensorMap side_x, side_w;  // of a side branch
};
inline constexpr int kSm90aSideRank = 64;  // of a stage

namespace sm90a {

// Scales and biases of the columns that one piece of the output needs: `kGroups` groups of 8
// accumulator columns, two columns a thread. Columns beyond the last read a valid neighbour: what
// comes of them is never stored.
template <int kGroups>
struct PieceColumns {
  float2 scale[kGroups], bias[kGroups];

  __device__ void load(const S8GemmParams& p, int32_t n0) {
    const bool has_bias = p.bias != nullptr;
    const float* bias_source = has_bias ? p.bias : p.w_scale_col;
    const int32_t first = n0 + 2 * (threadIdx.x % 4);
#pragma unroll
    for (int g = 0; g < kGroups; ++g) {
      const int32_t n = min(first + 8 * g, p.n - 2);
      scale[g] = __ldg(reinterpret_cast<const float2*>(p.w_scale_col + n));
      const float2 b = __ldg(reinterpret_cast<const float2*>(bias_source + n));
      bias[g] = {has_bias ? b.x : -0.0f, has_bias ? b.y : -0.0f};  // x + -0 is x
    }
  }
};

// Finished columns go through shared memory in pieces of 64, written by the copy engine while the
// next piece is computed. The scales of the first piece are loaded before the sums are waited for,
// those of each next one before the present one is computed.
template <typename Config>
struct TmaEpilogue {
  static constexpr bool kGated = Config::kGated;
  static_assert(!kGated || Config::kN % 128 == 0, "pairs halve the columns; pieces are 64 wide");
  static constexpr int kPieces = (kGated ? Config::kN / 2 : Config::kN) / 64;
  // Scales are held for 64 columns of the product: all of a piece, or what makes half of one with
  // gated pairs.
  static constexpr int kGroups = 8, kLoads = kGated ? 2 : 1;

  PieceColumns<kGroups> columns;
  float row_scale[2];

  __device__ void prefetch(const S8GemmParams& p, int32_t row0, int32_t n0) {
    const int32_t row = row0 + 16 * (threadIdx.x / 32 % 4) + threadIdx.x % 32 / 4;
    row_scale[0] = __ldg(p.a_scale_row + min(row, p.m - 1));
    row_scale[1] = __ldg(p.a_scale_row + min(row + 8, p.m - 1));
    columns.load(p, n0);
  }

  // The sums times their row's scale, in place, as the bits of floats: what a side branch joins.
  __device__ void scale_rows(int32_t (&sums)[Config::kN / 2]) const {
#pragma unroll
    for (int i = 0; i < Config::kN / 2; ++i)
      sums[i] = __float_as_int(scale_row(sums[i], row_scale[i % 4 / 2]));
  }

  // `sums`: with a side branch those that scale_rows() has made floats. `turn`: the staging buffer
  // that is next, kept from tile to tile.
  template <class Epilogue>
  __device__ void store(const S8GemmParams& p, const CUtensorMap* map,
                        const int32_t (&sums)[Config::kN / 2], uint32_t staging, int32_t row0,
                        int32_t n0, int consumer, int& turn) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32 % 4;
    const bool issuer = threadIdx.x % 128 == 0;
    // stmatrix: lanes 0-7 address rows 0-7 of chunk 0, 8-15 rows 8-15 of chunk 0, 16-31 the same of
    // chunk 1. A chunk is 8 columns, 16 bytes.
    const int matrix_row = 16 * warp + lane % 16;
    const uint32_t row_address = staging + matrix_row * 128;
#pragma unroll
    for (int piece = 0; piece < kPieces; ++piece) {
      uint32_t packed[8][2];
#pragma unroll
      for (int load = 0; load < kLoads; ++load) {
        const int part = piece * kLoads + load;
        PieceColumns<kGroups> next;
        const bool more = part + 1 < kPieces * kLoads;
        if (more) next.load(p, n0 + 8 * kGroups * (part + 1));
#pragma unroll
        for (int quad = 0; quad < kGroups / 4; ++quad) {
          float y[4][4];
#pragma unroll
          for (int j = 0; j < 4; ++j) {
            scale_group(y[j], sums, part * kGroups + 4 * quad + j, 4 * quad + j);
          }
          // Gated: the two output groups of four accumulator groups, two of gates and two of ups.
          constexpr int kOut = kGated ? 2 : 4;
#pragma unroll
          for (int j = 0; j < kOut; ++j) {
#pragma unroll
            for (int e = 0; e < 4; ++e) {
              y[j][e] = activate<FastMath>(typename Epilogue::Function{}, y[j][e]);
              if constexpr (kGated) y[j][e] = __fmul_rn(y[j][e], y[j + 2][e]);
            }
            const int out_group = load * (kGroups / kLoads) + kOut * quad + j;
            packed[out_group][0] = pack_half_pair({y[j][0], y[j][1]}, Config::kOutType);
            packed[out_group][1] = pack_half_pair({y[j][2], y[j][3]}, Config::kOutType);
          }
        }
        if (more) columns = next;
      }
      const uint32_t buffer = turn * Config::kBytesPiece;
      turn ^= 1;
      if (issuer) ptx::tma_store_wait_read<Config::kPieces - 1>();
      ptx::named_barrier(1 + consumer, 128);
#pragma unroll
      for (int pair = 0; pair < 4; ++pair) {
        const int chunk = (2 * pair + lane / 16) ^ (matrix_row % 8);
        ptx::stmatrix_x4(row_address + buffer + chunk * 16, packed[2 * pair][0],
                         packed[2 * pair][1], packed[2 * pair + 1][0], packed[2 * pair + 1][1]);
      }
      ptx::fence_proxy_async();
      ptx::named_barrier(1 + consumer, 128);
      if (issuer) {
        ptx::tma_store_2d(map, staging + buffer, (kGated ? n0 / 2 : n0) + 64 * piece, row0);
        ptx::tma_store_commit();
      }
    }
  }

 private:
  // The four sums of accumulator group j, whose columns are those of group g that are held.
  __device__ void scale_group(float (&y)[4], const int32_t (&acc)[Config::kN / 2], int j,
                              int g) const {
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      const float scale = e % 2 ? columns.scale[g].y : columns.scale[g].x;
      const float bias = e % 2 ? columns.bias[g].y : columns.bias[g].x;
      y[e] = Config::kSide ? scale_column(__int_as_float(acc[4 * j + e]), scale, bias)
                           : scale_one(acc[4 * j + e], row_scale[e / 2], scale, bias);
    }
  }
};

}  // namespace sm90a

template <typename Config>
__global__ void __launch_bounds__(Config::kThreads, 1)
    sm90a_s8_gemm(const __grid_constant__ S8GemmParams p, const __grid_constant__ Sm90aMaps maps,
                  const __grid_constant__ ClusterSchedule schedule) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  constexpr int kStages = Config::kStages, kN = Config::kN;
  extern __shared__ __align__(1024) uint8_t shared[];
  const uint32_t smem = ptx::shared_address(shared);
  const uint32_t staging = smem + kStages * Config::kBytesStage;
  const uint32_t full = staging + Config::kBytesOut, empty = full + 8 * kStages;
  const int group =
      __shfl_sync(0xffffffff, threadIdx.x / 128, 0);  // uniform, and the compiler knows
  const uint32_t rank = ptx::cluster_rank();

  if (threadIdx.x == 0) {
    ptx::tma_prefetch_map(&maps.a);
    ptx::tma_prefetch_map(&maps.w);
    if (Config::kTmaStore) ptx::tma_prefetch_map(&maps.out);
    for (int s = 0; s < kStages; ++s) {
      ptx::mbarrier_init(full + 8 * s, 1);
      ptx::mbarrier_init(empty + 8 * s, Config::kCluster * Config::kConsumers * 4);
    }
    ptx::fence_mbarrier_init();
  }
  // No block may load into its neighbour, or signal it, before that one's barriers exist.
  ptx::cluster_arrive();
  ptx::cluster_wait();

  const int32_t tiles = schedule.count();
  const int32_t first = blockIdx.x / Config::kCluster, step = gridDim.x / Config::kCluster;
  int stage = 0;
  uint32_t phase = 0;

  if (group == 0) {
    ptx::give_registers<40>();
    if (threadIdx.x == 0) {
      for (int32_t index = first; index < tiles; index += step) {
        const ClusterSchedule::Item tile = schedule.at(index);
        const int32_t row = (tile.row * Config::kCluster + static_cast<int32_t>(rank)) * Config::kM;
        const int32_t column =
            tile.column * kN + static_cast<int32_t>(rank) * (kN / Config::kCluster);
        const auto load = [&](const CUtensorMap* map_a, const CUtensorMap* map_w, int32_t k) {
          ptx::mbarrier_wait(empty + 8 * stage, phase ^ 1);
          const uint32_t ready = full + 8 * stage;
          const uint32_t a = smem + stage * Config::kBytesStage;
          ptx::mbarrier_arrive_expect_tx(ready, Config::kBytesStage);
          ptx::tma_load_2d(a, map_a, k, row, ready);
          const uint32_t w = a + Config::kBytesA + rank * (Config::kBytesW / Config::kCluster);
          ptx::tma_load_2d_multicast(w, map_w, k, column, ready, (1 << Config::kCluster) - 1);
          if (++stage == kStages) {
            stage = 0;
            phase ^= 1;
          }
        };
        for (int32_t kt = tile.k_begin; kt < tile.k_end; ++kt)
          load(&maps.a, &maps.w, kt * Config::kK);
        if constexpr (Config::kSide) {
          for (int32_t r = 0; r < p.side_rank; r += kSm90aSideRank)
            load(&maps.side_x, &maps.side_w, r);
        }
      }
      // The neighbour's last signals must find this block alive: wait until every stage has been
      // given back.
      for (int s = 0; s < kStages; ++s) {
        ptx::mbarrier_wait(empty + 8 * stage, phase ^ 1);
        if (++stage == kStages) {
          stage = 0;
          phase ^= 1;
        }
      }
    }
  } else {
    ptx::take_registers<232>();
    const int consumer = group - 1;
    const int lane = threadIdx.x % 32;
    const uint32_t buffers = staging + consumer * Config::kPieces * Config::kBytesPiece;
    const auto give_back = [&](int s) {
      if (lane < Config::kCluster) ptx::mbarrier_arrive_cluster(empty + 8 * s, lane);
    };
    int turn = 0;
    for (int32_t index = first; index < tiles; index += step) {
      const ClusterSchedule::Item tile = schedule.at(index);
      int32_t acc[kN / 2];
      int previous = 0;
      for (int32_t kt = tile.k_begin; kt < tile.k_end; ++kt) {
        ptx::mbarrier_wait(full + 8 * stage, phase);
        const uint32_t a = smem + stage * Config::kBytesStage + consumer * (64 * Config::kK);
        const uint64_t desc_a = ptx::wgmma_descriptor_128b(a);
        const uint64_t desc_w =
            ptx::wgmma_descriptor_128b(smem + stage * Config::kBytesStage + Config::kBytesA);
        ptx::wgmma_fence();
#pragma unroll
        for (int k = 0; k < Config::kK / 32; ++k)  // 32 bytes further, in units of 16
          ptx::WgmmaS8<kN>::run(acc, desc_a + 2 * k, desc_w + 2 * k, kt > tile.k_begin || k > 0);
        ptx::wgmma_commit();
        // The stage before this one has been read once all but the newest batch is done.
        ptx::wgmma_wait<1>();
        if (kt > tile.k_begin) give_back(previous);
        previous = stage;
        if (++stage == kStages) {
          stage = 0;
          phase ^= 1;
        }
      }
      const int32_t row0 =
          (tile.row * Config::kCluster + static_cast<int32_t>(rank)) * Config::kM + 64 * consumer;
      if constexpr (Config::kTmaStore) {
        sm90a::TmaEpilogue<Config> epilogue;
        epilogue.prefetch(p, row0, tile.column * kN);
        ptx::wgmma_wait<0>();
        give_back(previous);
        if constexpr (Config::kSide) {
          ptx::pin_registers(acc);
          epilogue.scale_rows(acc);
#pragma unroll 1
          for (int32_t r = 0; r < p.side_rank; r += kSm90aSideRank) {
            ptx::mbarrier_wait(full + 8 * stage, phase);
            const uint32_t a = smem + stage * Config::kBytesStage;
            const uint64_t desc_x = ptx::wgmma_descriptor_128b(a + consumer * (64 * Config::kK));
            const uint64_t desc_w = ptx::wgmma_descriptor_128b(a + Config::kBytesA);
            const int32_t steps = min(p.side_rank - r, kSm90aSideRank) / 16;
            ptx::wgmma_fence();
#pragma unroll 1
            for (int32_t k = 0; k < steps; ++k)  // 32 bytes further, in units of 16
              ptx::WgmmaBf16<kN>::run(acc, desc_x + 2 * k, desc_w + 2 * k);
            ptx::wgmma_commit();
            ptx::wgmma_wait<0>();
            give_back(stage);
            if (++stage == kStages) {
              stage = 0;
              phase ^= 1;
            }
          }
          ptx::pin_registers(acc);
        }
        const auto store = [&](auto type) {
          epilogue.template store<decltype(type)>(p, &maps.out, acc, buffers, row0,
                                                  tile.column * kN, consumer, turn);
        };
        if constexpr (Config::kGated) {
          visit_gated(p.epilogue, store);
        } else {
          visit_plain(p.epilogue, store);
        }
      } else {
        ptx::wgmma_wait<0>();
        give_back(previous);
        S8GemmParams q = p;
        if (schedule.splits > 1)
          q.out = static_cast<int32_t*>(p.out) + int64_t{tile.split} * p.m * p.ldo;
        write_warp_tile<1, kN / 8>(q, lane, row0 + 16 * (threadIdx.x / 32 % 4), tile.column * kN,
                                   reinterpret_cast<const int32_t(&)[1][kN / 8][4]>(acc));
      }
    }
    // Shared memory goes away with the block: the last stores must have read it.
    if (Config::kTmaStore && threadIdx.x % 128 == 0) ptx::tma_store_wait_read<0>();
  }
  __syncwarp();
  ptx::cluster_arrive();
  ptx::cluster_wait();
#endif
}

}  // namespace intaglio::cuda
