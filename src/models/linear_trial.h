// How far an INT8 linear is from the float one, on rows that it read and with the arithmetic that
// it will run with.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/aligned_buffer.h"
#include "core/context.h"
#include "core/dtype.h"
#include "core/status.h"
#include "quant/rotation.h"

namespace intaglio {

class LinearTrial {
 public:
  // x: F32 [m, k], m >= 1; w: F32 [n, k], of numbers that `stored` holds, which decides over the
  // rounding of weights that are not smoothed (quant/int8_rows.h).
  static Expected<LinearTrial> make(const Context& context, std::span<const float> x,
                                    std::span<const float> w, int64_t k, DType stored);

  // ||y8 - y|| / ||y|| over all outputs, y = x w^T in float and y8 of the engine's int8 product:
  // row by row quantized (x / smooth) and (w smooth), after both are turned. `smooth`: [k], or
  // empty for ones. The rotation fits the columns.
  Expected<double> error(const Context& context, std::span<const float> smooth,
                         const Rotation& rotation) const;
  // The same of weights that are rounded by what the first half of the rows shows (quant/gptq.h),
  // over the other half, which it has not seen.
  Expected<double> gptq_error(const Context& context, std::span<const float> smooth,
                              const Rotation& rotation) const;

 private:
  struct Codes {
    std::vector<int8_t> q;  // [n, k]
    std::vector<float> scales;
  };
  LinearTrial() = default;
  Expected<Codes> nearest(const Context& context, std::span<const float> smooth,
                          const Rotation& rotation) const;
  Expected<Codes> gptq(const Context& context, std::span<const float> smooth,
                       const Rotation& rotation) const;
  Expected<std::vector<float>> product(const Context& context, const Codes& codes,
                                       std::span<const float> smooth,
                                       const Rotation& rotation) const;

  int64_t m_ = 0, n_ = 0, k_ = 0;
  DType stored_ = DType::kF32;
  std::span<const float> x_, w_;
  std::vector<float> exact_;  // [m, n]
};

}  // namespace intaglio
