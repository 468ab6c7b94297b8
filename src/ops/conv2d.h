// 2-D convolution on channels-last pictures.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "core/aligned_buffer.h"
#include "core/context.h"
#include "core/dtype.h"
#include "core/registry.h"
#include "core/status.h"
#include "core/tensor.h"

namespace intaglio {

// y[oy, ox, o] = bias[o] + sum x[oy + dy - pad, ox + dx - pad, c] * w[o, c, dy, dx], stride 1, zero
// padding (kernel - 1) / 2.
struct Conv2dDesc {
  int64_t height = 0, width = 0;  // of input and output
  int64_t in_channels = 0, out_channels = 0;
  int64_t kernel = 3;  // 1 or 3
  bool upsample =
      false;  // input is [height / 2, width / 2, in_channels], read through a nearest x2 upsampling
  DType dtype =
      DType::kF32;  // of x and y: kF32 or kBF16; weights are stored in the same type; sums are fp32
  bool f32_out = false;  // y and add are F32 whatever dtype is
  DType out_dtype() const { return f32_out ? DType::kF32 : dtype; }
};

// Weights of one convolution, prepared for the implementation chosen for `dtype` on this machine.
struct Conv2dWeights {
  int64_t in_channels = 0, out_channels = 0, kernel = 0;
  bool upsample = false;
  DType dtype = DType::kF32;
  AlignedBuffer packed;
  AlignedBuffer bias;  // F32 [out_channels]
  const struct Conv2dImplementation* implementation = nullptr;
};

struct Conv2dImplementation {
  // "sm80_conv2d", "plain_conv2d", "amx_bf16_conv2d", "avx512bf16_conv2d", "avx512_f32_conv2d",
  // "avx2_f32_conv2d", "ref_conv2d"
  const char* name;
  Refusal (*can_run)(const Conv2dDesc&, const Context&);
  Expected<AlignedBuffer> (*pack)(const Context&, const Conv2dDesc&,
                                  const float* w);  // w: [out, in, kernel, kernel]
  size_t (*scratch_bytes)(const Conv2dDesc&, int threads);
  // If add is not null, y += add ([height, width, out_channels], same type) after the bias: the
  // residual of a resnet block. add may be y.
  Status (*run)(const Context&, const Conv2dDesc&, const Conv2dWeights&, const void* x,
                const void* add, void* y);
  DeviceKind device = DeviceKind::kCpu;
};

std::span<const Conv2dImplementation> conv2d_implementations();

// w: float tensor [out, in, kernel, kernel], kernel 1 or 3; bias: float tensor [out]. `upsample`
// (kernel 3 only) must be that of the calls: the taps of a nearest x2 upsampling that read the same
// pixel are summed here, 4 products instead of 9.
Expected<Conv2dWeights> make_conv2d(const Context& context, DType dtype, TensorView w,
                                    TensorView bias, bool upsample = false);
// The implementation make_conv2d would choose.
Expected<const Conv2dImplementation*> choose_conv2d(const Conv2dDesc& desc, const Context& context);
size_t conv2d_scratch_bytes(const Conv2dDesc& desc, const Conv2dWeights& weights, int threads);
Status conv2d(const Context& context, const Conv2dDesc& desc, const Conv2dWeights& weights,
              const void* x, const void* add, void* y);

}  // namespace intaglio
