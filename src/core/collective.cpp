#include "core/collective.h"

#include <cstdlib>
#include <string_view>

#if defined(INTAGLIO_HAS_CUDA)
#include "core/cuda/nccl_group.h"
#endif

namespace intaglio {

Expected<std::unique_ptr<CollectiveGroup>> make_collective_group(
    std::span<const Context* const> contexts) {
#if defined(INTAGLIO_HAS_CUDA)
  const char* const link = std::getenv("INTAGLIO_GPU_LINK");
  if (link != nullptr && std::string_view(link) == "nccl") return cuda::make_nccl_group(contexts);
#endif
  return make_linked_group(contexts);
}

}  // namespace intaglio
