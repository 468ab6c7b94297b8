// What the float matrix kernels of one instruction set offer to the drivers of float_gemm and
// conv2d.
//
// The right operand is packed in panels of at most kPanelColumns columns; how a panel lies is
// private to the kernel that packs and reads it. A panel of n columns takes align_up(n, 16) *
// align_up(k, 2) elements.
#pragma once

#include <cstdint>

namespace intaglio::cpu {

inline constexpr int64_t kPanelColumns = 64;

// out[m, n] = start + sum over segments s and k of a[m, k + s * segment_stride] * panel[s, k, n] (+
// add) A convolution is one such block a row of pixels: its segments are the rows of the window,
// and rows of `a` overlap.
struct FloatGemmBlock {
  const void* a = nullptr;  // element type of the kernel, row stride lda elements
  int64_t lda = 0;
  int64_t segments = 1;
  int64_t segment_stride = 0;  // elements
  const void* panel = nullptr;
  int64_t m = 0, n = 0,
          k = 0;  // n <= kPanelColumns; k elements a segment, even for bf16 kernels if segments > 1
  const float* sums = nullptr;  // start from these [m, n] sums, row stride ld_sums, or
  int64_t ld_sums = 0;
  const float* bias = nullptr;  // from these [n], or from zero
  const void* add = nullptr;    // [m, n] of the type of out, or null
  int64_t ld_add = 0;
  void* out = nullptr;
  int64_t ld_out = 0;
  bool bf16_out = false;  // else float
};

// The same product for few rows, straight from weights [n, k] as they lie.
struct FloatDotBlock {
  const void* a = nullptr;
  int64_t lda = 0;
  const void* w = nullptr;  // row stride k
  int64_t m = 0, n = 0, k = 0;
  bool bf16_in = false;  // type of a and w
  const float* bias = nullptr;
  void* out = nullptr;
  int64_t ld_out = 0;
  bool bf16_out = false;
};

struct FloatGemmKernels {
  bool bf16;  // element type of a and of panels: bf16, else float
  void (*block)(const FloatGemmBlock&);
  // Rows [0, n) of w (row stride ldw elements, float or bf16) into one panel of depth k; columns
  // are padded with zeros.
  void (*pack)(const void* w, bool w_bf16, int64_t ldw, int64_t n, int64_t k, void* panel);
  void (*dot)(const FloatDotBlock&);
};

extern const FloatGemmKernels kAvx2FloatGemm;
extern const FloatGemmKernels kAvx512FloatGemm;
extern const FloatGemmKernels kAvx512Bf16Gemm;

}  // namespace intaglio::cpu
