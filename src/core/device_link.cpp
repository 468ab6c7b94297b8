#include "core/device_link.h"

#include <cstring>

#if defined(INTAGLIO_HAS_CUDA)
#include "core/cuda/device_link.h"
#endif

namespace intaglio {
namespace {

class CpuLink : public DeviceLink {
 public:
  Status copy(void* target, const void* source, size_t bytes) override {
    std::memcpy(target, source, bytes);
    return {};
  }
  Status wait_for_reads() override { return {}; }
};

}  // namespace

Expected<std::unique_ptr<DeviceLink>> make_device_link(const Context& from, const Context& to,
                                                       [[maybe_unused]] size_t most_bytes) {
  if (from.gpu == nullptr && to.gpu == nullptr) return std::make_unique<CpuLink>();
#if defined(INTAGLIO_HAS_CUDA)
  if (from.gpu != nullptr && to.gpu != nullptr) return cuda::make_device_link(from, to, most_bytes);
#endif
  return make_error(ErrorCode::kUnsupported,
                    "a link between a GPU and the CPU: expected two of a kind");
}

Expected<bool> reach_each_other(const Context& a, const Context& b) {
#if defined(INTAGLIO_HAS_CUDA)
  if (a.gpu != nullptr && b.gpu != nullptr) return cuda::reach_each_other(a, b);
#endif
  return a.gpu == nullptr && b.gpu == nullptr;
}

}  // namespace intaglio
