// Which int8 GEMM kernel a product should run, from the sizes alone: what is used where nothing was
// tuned, and what the tuner tries first.
//
// The time of a product is that of its slowest resource, plus a tenth of what the others take (they
// compete for issue slots and power):
//
//   products   the busiest multiprocessor computes ceil(tiles / multiprocessors) tiles: the last wave costs as much as a full one
//   L2         every tile fetches its rows of A and W for all of k; a cluster fetches its W tile once
//   memory     A and W once, and again for what the L2 cannot hold from one wave of tiles to the next; the output once
//   a launch   fixed; split-K adds a second one and its partial sums
//
// Pure: no state, no CUDA. Rates come from tile_configs.h. All of it is modelled until the data say
// "measured".
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "ops/cuda/tuning/tile_configs.h"

namespace intaglio::cuda {

// nullptr if `config` can serve `shape` on `device`, else why not.
const char* refuse_tile(const CudaDevice& device, const S8GemmShape& shape,
                        const TileConfig& config);

// Milliseconds a product should take; infinity if the config is refused or the device unknown.
// `choice` must name `config`.
double predicted_ms(const CudaDevice& device, const S8GemmShape& shape, const TileConfig& config,
                    const S8GemmChoice& choice);

// The parts of predicted_ms, for pages and tests.
struct PredictedTime {
  double products_ms = 0, l2_ms = 0, memory_ms = 0, fixed_ms = 0;
  double total_ms() const;
};
PredictedTime predicted_time(const CudaDevice& device, const S8GemmShape& shape,
                             const TileConfig& config, const S8GemmChoice& choice);

// The band that keeps memory traffic low: see the .cpp.
int32_t band_for(const CudaDevice& device, const S8GemmShape& shape, const TileConfig& config);

struct RankedChoice {
  S8GemmChoice choice;
  double predicted_ms = 0;
};

// Every choice worth a thought, fastest first: each config that runs, its splits of K, its bands.
std::vector<RankedChoice> rank_s8_gemm(const CudaDevice& device, const S8GemmShape& shape,
                                       std::span<const TileConfig> configs);

// The first of rank_s8_gemm; an empty config name if nothing runs.
S8GemmChoice heuristic_s8_gemm(const CudaDevice& device, const S8GemmShape& shape,
                               std::span<const TileConfig> configs);

}  // namespace intaglio::cuda
