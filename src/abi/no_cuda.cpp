// ops/cuda/launch/int8_linear.h for a build without CUDA: every function says so.
#if !defined(INTAGLIO_HAS_CUDA)
#include "ops/cuda/launch/int8_linear.h"

namespace intaglio::cuda {
namespace {

tl::unexpected<Error> no_cuda() {
  return make_error(ErrorCode::kUnsupported, "this build of the library has no CUDA");
}

}  // namespace

Expected<int> current_device() { return no_cuda(); }
Expected<MemoryInfo> memory_info(const void*) { return no_cuda(); }
Expected<int> stream_device(void*) { return no_cuda(); }
Status check_device(int) { return no_cuda(); }
Status int8_quantize_rows(const Int8RowsCall&, void*) { return no_cuda(); }
Expected<size_t> int8_gemm_workspace(const S8GemmParams&, int) { return no_cuda(); }
Status int8_gemm(const S8GemmParams&, int, Int8Workspace, void*) { return no_cuda(); }

}  // namespace intaglio::cuda
#endif
