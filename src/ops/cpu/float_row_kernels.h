// Passes over rows of floats around the matrix products: norms of pictures, epilogues, gates, type
// changes. One set an instruction set.
#pragma once

#include <cstdint>

#include "ops/epilogue.h"

namespace intaglio::cpu {

struct ScaleShift {
  const void* x = nullptr;  // [rows, channels] dense, float or bf16
  void* y = nullptr;        // the same shape and type; may be x
  bool bf16 = false;
  int64_t rows = 0, channels = 0;
  const float* scale = nullptr;  // [channels]
  const float* shift = nullptr;  // [channels]
  bool silu = false;
};

// ops/pixel_norm.h over rows.
struct PixelNormRows {
  const void* x = nullptr;  // [rows, channels] dense, float or bf16
  void* y = nullptr;        // the same shape and type; may be x
  bool bf16 = false;
  int64_t rows = 0, channels = 0;
  const float* weight = nullptr;  // [channels]
  float root = 0.0f;              // of channels
  float least = 0.0f;             // what a row's norm counts at least
  bool silu = false;
};

// x *= sigmoid(gate) over one row.
struct GateRow {
  void* x = nullptr;  // [cols], float or bf16
  const void* gate = nullptr;
  bool bf16 = false;
  int64_t cols = 0;
};

// One row of a product, gated: all gates first; to `outputs` values.
struct EpilogueRow {
  GemmEpilogue epilogue = GemmEpilogue::kSwiglu;
  const void* product = nullptr;  // float or bf16
  bool bf16_product = false;
  int64_t outputs = 0;
  void* out = nullptr;  // float or bf16
  bool bf16_out = false;
};

struct FloatRowKernels {
  // Over rows of x [rows, channels] (float or bf16): sum[c] = sum of x - center[c], square[c] = sum
  // of (x - center[c])^2.
  void (*channel_sums)(const void* x, bool bf16, int64_t rows, int64_t channels,
                       const float* center, float* sum, float* square);
  // y = act(x * scale[c] + shift[c])
  void (*scale_shift)(const ScaleShift&);
  void (*epilogue)(const EpilogueRow&);
  void (*pixel_norm)(const PixelNormRows&);
  void (*gate)(const GateRow&);
  // out = softmax(x * scale) over one row; x is overwritten. out may be x if it is float.
  void (*softmax)(float* x, int64_t count, float scale, void* out, bool bf16_out);
  void (*widen)(const uint16_t* x, int64_t count, float* y);   // bf16 -> float
  void (*narrow)(const float* x, int64_t count, uint16_t* y);  // float -> bf16, to nearest even
  // y = bf16(q * scale)
  void (*dequantize)(const int8_t* q, float scale, int64_t count, uint16_t* y);
};

extern const FloatRowKernels kAvx2FloatRows;
extern const FloatRowKernels kAvx512FloatRows;
extern const FloatRowKernels kGenericFloatRows;

}  // namespace intaglio::cpu
