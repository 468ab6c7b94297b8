// A stand-in for the GPU that computes on host memory by the references: it lets the C interface
// and the Python package be tested, numbers included, without a GPU. Everything is memory of "device
// 0", except addresses below 4096: they are host memory.
#include <algorithm>

#include "abi/int8_device.h"
#include "support/int8_reference.h"

namespace intaglio::abi {
namespace {

constexpr size_t kGemmBytes =
    384;  // so that callers have to ask; written, so that a wrong offset shows

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
    test::reference_quantize_rows(call);
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
    test::reference_s8_gemm(p, p.out);
    return {};
  }
};

}  // namespace

const Int8Device& int8_device() {
  static const Host host;
  return host;
}

}  // namespace intaglio::abi
