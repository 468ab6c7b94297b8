// A stand-in for the GPU that computes on host memory by the formulas: it lets the C interface and
// the Python package be tested, numbers included, without a GPU. Everything is memory of "device
// 0", except addresses below 4096: they are host memory.
#include <algorithm>
#include <cmath>
#include <vector>

#include "abi/int8_device.h"
#include "ops/ref/reference_math.h"

namespace intaglio::abi {
namespace {

constexpr size_t kGemmBytes =
    384;  // so that callers have to ask; written, so that a wrong offset shows

void store(const cuda::S8GemmParams& p, int64_t row, int64_t column, float y) {
  const int64_t at = row * p.ldo + column;
  if (p.out_type == DType::kF32) static_cast<float*>(p.out)[at] = y;
  if (p.out_type == DType::kBF16) static_cast<BFloat16*>(p.out)[at] = BFloat16(y);
  if (p.out_type == DType::kF16) static_cast<Float16*>(p.out)[at] = Float16(y);
}

class Host final : public Int8Device {
 public:
  Expected<int> current_device() const override { return 0; }

  Expected<cuda::MemoryInfo> memory_info(const void* pointer) const override {
    if (reinterpret_cast<uintptr_t>(pointer) < 4096)
      return cuda::MemoryInfo{cuda::MemoryKind::kHost, -1};
    return cuda::MemoryInfo{cuda::MemoryKind::kDevice, 0};
  }

  Expected<int> stream_device(void*) const override { return 0; }

  Status check_device(int device) const override {
    if (device != 0)
      return make_error(ErrorCode::kUnsupported, "device: {}, expected 0 (there is no GPU)",
                        device);
    return {};
  }

  Status quantize_rows(const cuda::Int8RowsCall& call, void*) const override {
    std::vector<float> row(static_cast<size_t>(call.cols));
    const auto* x = static_cast<const unsigned char*>(call.x);
    for (int64_t r = 0; r < call.rows; ++r) {
      const auto offset = static_cast<size_t>(r * call.ldx) * dtype_size(call.x_type);
      convert_to_f32(x + offset, call.x_type, row.data(), row.size());
      float absmax = 0;
      bool finite = true;
      for (const float v : row) {
        absmax = std::max(absmax, std::fabs(v));
        finite = finite && std::isfinite(v);
      }
      int8_t* q = call.q + r * call.ldq;
      std::fill_n(q, call.ldq, int8_t{0});
      call.scale[r] = finite ? std::max(absmax / 127.0f, 1e-30f) : std::nanf("");
      if (!finite || absmax < 1e-36f) continue;
      const float inverse = 127.0f / absmax;
      for (size_t c = 0; c < row.size(); ++c)
        q[c] = static_cast<int8_t>(std::clamp(std::nearbyint(row[c] * inverse), -127.0f, 127.0f));
    }
    return {};
  }

  Expected<size_t> gemm_workspace(const cuda::S8GemmParams&, int) const override {
    return kGemmBytes;
  }

  Status gemm(const cuda::S8GemmParams& p, int, cuda::Int8Workspace workspace,
              void*) const override {
    if (workspace.bytes < kGemmBytes)
      return make_error(ErrorCode::kInternal, "workspace of {} bytes", workspace.bytes);
    std::fill_n(static_cast<unsigned char*>(workspace.data), kGemmBytes, 0xff);
    std::vector<float> y(static_cast<size_t>(p.n));
    for (int64_t r = 0; r < p.m; ++r) {
      for (int64_t n = 0; n < p.n; ++n) {
        int32_t sum = 0;
        for (int64_t k = 0; k < p.k; ++k) sum += p.a[r * p.lda + k] * p.w[n * p.ldw + k];
        if (p.out_type == DType::kI32) {
          static_cast<int32_t*>(p.out)[r * p.ldo + n] = sum;
        } else {
          const float scaled = static_cast<float>(sum) * (p.a_scale_row[r] * p.w_scale_col[n]);
          y[static_cast<size_t>(n)] = p.bias != nullptr ? scaled + p.bias[n] : scaled;
        }
      }
      if (p.out_type == DType::kI32) continue;
      for (int64_t j = 0; j < cuda::out_columns(p); ++j) {
        const auto first = static_cast<size_t>(is_gated(p.epilogue) ? j / 16 * 32 + j % 16 : j);
        visit_epilogue(p.epilogue, [&](auto epilogue) {
          using Epilogue = decltype(epilogue);
          const auto value = static_cast<float>(activate<ReferenceMath>(
              typename Epilogue::Function{}, static_cast<double>(y[first])));
          store(p, r, j, Epilogue::kGated ? value * y[first + 16] : value);
        });
      }
    }
    return {};
  }
};

}  // namespace

const Int8Device& int8_device() {
  static const Host host;
  return host;
}

}  // namespace intaglio::abi
