#include "core/device_link.h"

#if defined(INTAGLIO_HAS_CUDA)
#include "core/cuda/device_link.h"
#endif

namespace intaglio {

Expected<std::unique_ptr<DeviceLink>> make_device_link([[maybe_unused]] const Context& from,
                                                       [[maybe_unused]] const Context& to,
                                                       [[maybe_unused]] size_t most_bytes) {
#if defined(INTAGLIO_HAS_CUDA)
  if (from.gpu != nullptr && to.gpu != nullptr) return cuda::make_device_link(from, to, most_bytes);
#endif
  return make_error(ErrorCode::kUnsupported, "a link between devices needs two GPUs");
}

}  // namespace intaglio
