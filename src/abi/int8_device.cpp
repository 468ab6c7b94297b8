#include "abi/int8_device.h"

namespace intaglio::abi {
namespace {

#if defined(INTAGLIO_HAS_CUDA)

class Gpus final : public Int8Device {
 public:
  Expected<int> current_device() const override { return cuda::current_device(); }
  Expected<cuda::MemoryInfo> memory_info(const void* pointer) const override {
    return cuda::memory_info(pointer);
  }
  Expected<int> stream_device(void* stream) const override { return cuda::stream_device(stream); }
  Status check_device(int device) const override { return cuda::check_device(device); }
  Status quantize_rows(const cuda::Int8RowsCall& call, void* stream) const override {
    return cuda::int8_quantize_rows(call, stream);
  }
  Expected<size_t> gemm_workspace(const cuda::S8GemmParams& params, int device) const override {
    return cuda::int8_gemm_workspace(params, device);
  }
  Status gemm(const cuda::S8GemmParams& params, int device, cuda::Int8Workspace workspace,
              void* stream) const override {
    return cuda::int8_gemm(params, device, workspace, stream);
  }
};

#else

tl::unexpected<Error> no_cuda() {
  return make_error(ErrorCode::kUnsupported, "this build of the library has no CUDA");
}

class Gpus final : public Int8Device {
 public:
  Expected<int> current_device() const override { return no_cuda(); }
  Expected<cuda::MemoryInfo> memory_info(const void*) const override { return no_cuda(); }
  Expected<int> stream_device(void*) const override { return no_cuda(); }
  Status check_device(int) const override { return no_cuda(); }
  Status quantize_rows(const cuda::Int8RowsCall&, void*) const override { return no_cuda(); }
  Expected<size_t> gemm_workspace(const cuda::S8GemmParams&, int) const override {
    return no_cuda();
  }
  Status gemm(const cuda::S8GemmParams&, int, cuda::Int8Workspace, void*) const override {
    return no_cuda();
  }
};

#endif

}  // namespace

const Int8Device& int8_device() {
  static const Gpus gpus;
  return gpus;
}

}  // namespace intaglio::abi
