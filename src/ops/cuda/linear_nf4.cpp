// Weights of NF4 linears on a GPU.
#include "core/cuda/device.h"
#include "core/memory.h"
#include "ops/cuda/launch/quantize_nf4.h"
#include "ops/cuda/linear.h"
#include "ops/cuda/stream.h"
#include "ops/cuda/weight_formats.h"
#include "ops/linear_prepare.h"

namespace intaglio::cuda::op {
namespace {

// The rows of a part as bf16 in device memory.
Expected<AlignedBuffer> stage_bf16(const Context& context, const StoredLinear& part) {
  const size_t bytes = static_cast<size_t>(part.values.shape.count()) * sizeof(BFloat16);
  INTAGLIO_ASSIGN(AlignedBuffer staged, allocate(context, bytes));
  if (part.encoding == Encoding::kFloat && part.values.dtype == DType::kBF16) {
    INTAGLIO_TRY(copy_in(context, staged.data(), part.values.data, bytes));
    return staged;
  }
  INTAGLIO_ASSIGN(const AlignedBuffer converted, AlignedBuffer::allocate(bytes));
  INTAGLIO_TRY(convert_weight_rows(context, part, DType::kBF16, converted.as<std::byte>()));
  INTAGLIO_TRY(copy_in(context, staged.data(), converted.data(), bytes));
  return staged;
}

}  // namespace

Status prepare_nf4(const Context& context, std::span<const StoredLinear> parts,
                   LinearWeights& weights) {
  const int64_t k = weights.k, count = weights.n * k;
  INTAGLIO_ASSIGN(weights.packed, allocate(context, static_cast<size_t>(nf4_code_bytes(count))));
  INTAGLIO_ASSIGN(weights.scales,
                  allocate(context, static_cast<size_t>(nf4_blocks(count)) * sizeof(float)));
  auto* codes = weights.packed.as<uint8_t>();
  auto* absmax = weights.scales.as<float>();
  for (const StoredLinear& part : parts) {
    INTAGLIO_ASSIGN(const AlignedBuffer staged, stage_bf16(context, part));
    const int64_t values = part.values.shape.count();
    INTAGLIO_TRY(
        device_status(quantize_nf4(staged.data(), values, codes, absmax, stream_of(context)),
                      "NF4 quantization"));
    INTAGLIO_TRY(synchronize(context));  // `staged` goes
    codes += nf4_code_bytes(values);
    absmax += nf4_blocks(values);
  }
  return {};
}

}  // namespace intaglio::cuda::op
