#include "dequantize_check.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "core/cuda/device.h"
#include "core/dtype.h"
#include "ops/cuda/launch/dequantize_weights.h"
#include "ops/cuda/weight_formats.h"

namespace intaglio::cli {
namespace {

using cuda::DequantizeWeightsParams;
using cuda::device_status;
using cuda::WeightFormat;

constexpr int64_t kSampledWeights = int64_t{1} << 20;

template <typename T>
Status copy_to_host(std::vector<T>& to, const void* from, int64_t first, int64_t count) {
  to.resize(static_cast<size_t>(count));
  return device_status(cudaMemcpy(to.data(), static_cast<const T*>(from) + first,
                                  to.size() * sizeof(T), cudaMemcpyDeviceToHost),
                       "cudaMemcpy");
}

// Rows first to first + rows of the weights, as the file formats have them.
struct HostRows {
  std::vector<uint8_t> bytes;
  std::vector<float> scale;
  int64_t first = 0;

  Status read(const DequantizeWeightsParams& p, int64_t first_row, int64_t rows) {
    first = first_row * p.k;
    const int64_t last = first + rows * p.k;
    switch (p.format) {
      case WeightFormat::kI8:
        INTAGLIO_TRY(copy_to_host(bytes, p.w, first_row * p.ldw, rows * p.ldw));
        return copy_to_host(scale, p.scale, first_row, rows);
      case WeightFormat::kNf4:
        INTAGLIO_TRY(copy_to_host(bytes, p.w, first / 2, cuda::nf4_code_bytes(last - first)));
        return copy_to_host(scale, p.scale, first / cuda::kNf4Block,
                            cuda::nf4_blocks(last) - first / cuda::kNf4Block);
      case WeightFormat::kQ8_0:
        return copy_to_host(bytes, p.w, cuda::q8_0_bytes(first), cuda::q8_0_bytes(last - first));
    }
    return {};
  }

  // Weight i of these rows.
  float weight(const DequantizeWeightsParams& p, int64_t i) const {
    const auto byte = [&](int64_t at) { return bytes[static_cast<size_t>(at)]; };
    const auto value = [&](int64_t at) {
      return static_cast<float>(static_cast<int8_t>(byte(at)));
    };
    switch (p.format) {
      case WeightFormat::kI8:
        return value(i / p.k * p.ldw + i % p.k) * scale[static_cast<size_t>(i / p.k)];
      case WeightFormat::kNf4: {
        const int64_t block = (first + i) / cuda::kNf4Block - first / cuda::kNf4Block;
        return cuda::nf4_value(cuda::nf4_code(byte(i / 2), i)) * scale[static_cast<size_t>(block)];
      }
      case WeightFormat::kQ8_0: {
        Float16 d;
        std::memcpy(&d.bits, bytes.data() + cuda::q8_0_scale_offset(i), sizeof d.bits);
        return value(cuda::q8_0_value_offset(i)) * static_cast<float>(d);
      }
    }
    return 0;
  }
};

}  // namespace

Status check_dequantized(const DequantizeWeightsParams& p) {
  constexpr int kPoison = 0xff;  // NaN in bf16
  const size_t out_bytes = sizeof(uint16_t) * static_cast<size_t>(p.n) * static_cast<size_t>(p.k);
  INTAGLIO_TRY(device_status(cudaMemset(p.out, kPoison, out_bytes), "cudaMemset"));
  INTAGLIO_TRY(device_status(cuda::dequantize_weights(p, nullptr), "dequantize_weights"));
  INTAGLIO_TRY(device_status(cudaDeviceSynchronize(), "dequantize_weights"));
  const int64_t rows = std::clamp<int64_t>(kSampledWeights / p.k, 1, p.n);
  for (const int64_t first_row : {int64_t{0}, p.n - rows}) {
    HostRows host;
    INTAGLIO_TRY(host.read(p, first_row, rows));
    std::vector<uint16_t> out;
    INTAGLIO_TRY(copy_to_host(out, p.out, first_row * p.k, rows * p.k));
    for (size_t i = 0; i < out.size(); ++i) {
      const BFloat16 want(host.weight(p, static_cast<int64_t>(i)));
      if (out[i] == want.bits) continue;
      BFloat16 got;
      got.bits = out[i];
      return make_error(ErrorCode::kInternal, "weight [{}, {}] is {}, expected {}",
                        first_row + static_cast<int64_t>(i) / p.k, static_cast<int64_t>(i) % p.k,
                        static_cast<float>(got), static_cast<float>(want));
    }
  }
  return {};
}

}  // namespace intaglio::cli
