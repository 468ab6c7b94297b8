// The references of int8 linears with what CUDA kernels take: what the devices that tests make up
// compute, and what emulated kernels are held against.
#pragma once

#include <algorithm>
#include <vector>

#include "ops/cuda/launch/int8_linear.h"
#include "ops/quantize.h"
#include "ops/ref/s8_gemm.h"

namespace intaglio::test {

// The product of p into `out`, whose rows lie as those of p.out.
inline void reference_s8_gemm(const cuda::S8GemmParams& p, void* out) {
  const S8Epilogue epilogue{p.a_scale_row, p.w_scale_col, p.bias,
                            out,           p.ldo,         p.n,
                            p.out_type,    p.epilogue,    {p.side_x, p.side_w, p.side_rank}};
  ref::s8_gemm_rows(epilogue, {p.a, p.lda}, {p.w, p.ldw}, p.k, 0, p.m);
}

inline void reference_quantize_rows(const cuda::Int8RowsCall& c) {
  std::vector<float> row(static_cast<size_t>(c.cols));
  const QuantizeRowsDesc desc{
      .rotation = c.rotation_group != 0 ? Rotation::convrot(c.rotation_group) : Rotation{},
      .smooth = c.smooth != nullptr};
  for (int64_t r = 0; r < c.rows; ++r) {
    convert_to_f32(
        static_cast<const std::byte*>(c.x) + static_cast<size_t>(r * c.ldx) * dtype_size(c.x_type),
        c.x_type, row.data(), row.size());
    int8_t* const q = c.q + r * c.ldq;
    std::fill_n(q, c.ldq, int8_t{0});
    static_cast<void>(quantize_rows_implementations().back().run(Context{}, desc,
                                                                 {.x = row.data(),
                                                                  .ldx = c.cols,
                                                                  .rows = 1,
                                                                  .cols = c.cols,
                                                                  .smooth = c.smooth,
                                                                  .q = q,
                                                                  .scale = c.scale + r}));
  }
}

}  // namespace intaglio::test
