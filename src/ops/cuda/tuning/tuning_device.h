// What the tuner needs of a GPU. The build with CUDA implements it; tests make one up.
#pragma once

#include <memory>

#include "core/status.h"
#include "ops/cuda/tuning/tile_configs.h"

namespace intaglio::cuda {

class TuningDevice {
 public:
  virtual ~TuningDevice() = default;

  virtual const CudaDevice& device() const = 0;

  // True if this build holds the kernel: data files may name more than was compiled.
  virtual bool has_config(const TileConfig& config) const = 0;

  // Makes operands of `shape`: random over all of int8, scales, bias, an output. Frees those of the
  // shape before. kOutOfMemory if they do not fit; the tuner then goes on with the next shape.
  virtual Status prepare(const S8GemmShape& shape) = 0;

  // Runs `choice` once on the prepared operands and compares with the reference (int32 bit for
  // bit). kInternal if it differs, kUnsupported if the launcher refuses.
  virtual Status check(const S8GemmChoice& choice, const S8GemmShape& shape) = 0;

  // One timed round of the prepared operands, in ms a launch: L2 flushed before, as many launches
  // as make the clock's error small.
  virtual Expected<double> measure_ms(const S8GemmChoice& choice, const S8GemmShape& shape) = 0;
};

// GPU number `ordinal`, in a build with CUDA. kNotFound without such a GPU.
Expected<std::unique_ptr<TuningDevice>> open_tuning_device(int ordinal);

}  // namespace intaglio::cuda
