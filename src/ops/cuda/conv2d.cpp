#include "ops/cuda/conv2d.h"

#include "core/cuda/device.h"
#include "core/memory.h"
#include "ops/cuda/kernel_trace.h"
#include "ops/cuda/launch/conv2d.h"
#include "ops/cuda/launch/conv2d_pack.h"
#include "ops/cuda/stream.h"

namespace intaglio::cuda::op {
namespace {

constexpr int64_t kMostSize = int64_t{1} << 31;

Conv2dType type_of(DType dtype) {
  return dtype == DType::kF32 ? Conv2dType::kF32 : Conv2dType::kBF16;
}

Conv2dParams params(const Conv2dDesc& desc, const Conv2dWeights& weights, const void* x,
                    const void* add, void* y) {
  return {.x = x,
          .w = weights.packed.data(),
          .bias = weights.bias.as<float>(),
          .add = add,
          .y = y,
          .height = static_cast<int32_t>(desc.height),
          .width = static_cast<int32_t>(desc.width),
          .in_channels = static_cast<int32_t>(desc.in_channels),
          .out_channels = static_cast<int32_t>(desc.out_channels),
          .kernel = static_cast<int32_t>(desc.kernel),
          .upsample = desc.upsample ? 1 : 0,
          .type = type_of(desc.dtype),
          .f32_out = desc.f32_out ? 1 : 0};
}

Refusal refuse(const Conv2dDesc& desc, const Context& context) {
  if (const Refusal refusal = refuse_device(DeviceKind::kGpu, context)) return refusal;
  if (desc.height * desc.width >= kMostSize) return "more than 2^31 pixels";
  if (desc.kernel != 1 && desc.kernel != 3) return "the kernel must be 1 or 3";
  return desc.upsample && desc.kernel != 3 ? "only a kernel of 3 reads through an upsampling"
                                           : nullptr;
}

}  // namespace

std::string sm80_conv2d_tile(const Conv2dParams& p) {
  const int choice = sm80_conv2d_choice(p);
  if (choice < 0) return "";
  const Conv2dConfig& c = sm80_conv2d_configs()[static_cast<size_t>(choice)];
  constexpr int kChannelBytes = 2;
  return fmt::format("{}x{}x{}, {} stages", c.tile_m, c.tile_n, c.tile_k_bytes / kChannelBytes,
                     c.stages);
}

Expected<AlignedBuffer> pack_conv2d(const Context& context, const Conv2dDesc& desc,
                                    const float* w) {
  const Conv2dPack pack{.in_channels = static_cast<int32_t>(desc.in_channels),
                        .out_channels = static_cast<int32_t>(desc.out_channels),
                        .kernel = static_cast<int32_t>(desc.kernel),
                        .upsample = desc.upsample ? 1 : 0,
                        .type = type_of(desc.dtype)};
  const auto bytes = static_cast<size_t>(packed_conv2d_bytes(pack));
  INTAGLIO_ASSIGN(const AlignedBuffer packed, AlignedBuffer::allocate(bytes));
  pack_conv2d_weights(pack, w, packed.data());
  INTAGLIO_ASSIGN(AlignedBuffer target, allocate(context, bytes));
  INTAGLIO_TRY(copy_in(context, target.data(), packed.data(), bytes));
  return target;
}

Refusal sm80_conv2d_refusal(const Conv2dDesc& desc, const Context& context) {
  if (const Refusal refusal = refuse(desc, context)) return refusal;
  if (desc.dtype != DType::kBF16) return "pictures are not BF16";
  return context.gpu->compute_capability >= 80 ? nullptr : "needs compute capability 8.0";
}

Status run_plain_conv2d(const Context& context, const Conv2dDesc& desc,
                        const Conv2dWeights& weights, const void* x, const void* add, void* y) {
  const Conv2dParams p = params(desc, weights, x, add, y);
  if (const char* reason = cuda::plain_conv2d_refusal(p))
    return make_error(ErrorCode::kUnsupported, "a convolution of {}x{} {}->{}: {}", p.width,
                      p.height, p.in_channels, p.out_channels, reason);
  return device_status(plain_conv2d(p, stream_of(context)), "a convolution");
}

// Both read the same packed weights: what the faster one cannot do after all the plain one does.
Status run_sm80_conv2d(const Context& context, const Conv2dDesc& desc, const Conv2dWeights& weights,
                       const void* x, const void* add, void* y) {
  const Conv2dParams p = params(desc, weights, x, add, y);
  if (const char* reason = cuda::sm80_conv2d_refusal(p)) {
    trace_kernel([&] {
      return fmt::format("conv2d {}x{} {}->{}: plain_conv2d instead; {}", p.width, p.height,
                         p.in_channels, p.out_channels, reason);
    });
    return run_plain_conv2d(context, desc, weights, x, add, y);
  }
  trace_kernel([&] {
    return fmt::format("conv2d {}x{} {}->{} kernel {} on cuda:{}: sm80_conv2d {}", p.width,
                       p.height, p.in_channels, p.out_channels, p.kernel, context.gpu->ordinal,
                       sm80_conv2d_tile(p));
  });
  return device_status(sm80_conv2d(p, stream_of(context)), "a convolution");
}

Refusal plain_conv2d_refusal(const Conv2dDesc& desc, const Context& context) {
  return refuse(desc, context);
}

}  // namespace intaglio::cuda::op
