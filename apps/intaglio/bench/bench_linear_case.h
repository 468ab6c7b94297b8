// One shape of `intaglio bench linear`: its data, its candidates, their check against references.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "bench/bench.h"
#include "core/aligned_buffer.h"
#include "core/context.h"
#include "core/dtype.h"

namespace intaglio::cli {

struct LinearShape {
  std::string name;
  int64_t m = 0, n = 0, k = 0;
};

// Random normal activations and weights in bf16, and the same quantized; with exact results of some
// rows.
struct LinearData {
  LinearShape shape;
  AlignedBuffer x, w;          // BF16 [m, k], [n, k]
  AlignedBuffer x_f32, w_f32;  // the same values, only with fp32
  AlignedBuffer a, b;          // I8 [m, k], [n, k]
  std::vector<float> a_scale, b_scale;
  std::vector<int64_t> rows;             // of the output, checked
  std::vector<float> product;            // [rows, n] x w^T in float64, rounded
  std::vector<int32_t> integer_product;  // [rows, n] a x b^T, exact
  std::vector<float> scaled_product;     // [rows, n] the same with its scales
};

Expected<std::shared_ptr<const LinearData>> make_linear_data(const Context& context,
                                                             const LinearShape& shape,
                                                             bool with_f32);

// Every implementation of the `precisions` that this machine runs, checked; one that is wrong has
// error > tolerance. References are left out above 1e9 operations. `skipped` collects who cannot
// run and why.
Expected<std::vector<Candidate>> linear_candidates(Context& context, Arena& arena,
                                                   const std::shared_ptr<const LinearData>& data,
                                                   const std::vector<std::string>& precisions,
                                                   std::vector<std::string>& skipped);

}  // namespace intaglio::cli
