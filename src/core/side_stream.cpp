#include "core/side_stream.h"

#if defined(INTAGLIO_HAS_CUDA)
#include "core/cuda/side_stream.h"
#endif

namespace intaglio {

Expected<std::unique_ptr<SideStream>> make_side_stream([[maybe_unused]] const Context& context) {
#if defined(INTAGLIO_HAS_CUDA)
  if (context.gpu != nullptr) return cuda::make_side_stream();
#endif
  return make_error(ErrorCode::kUnsupported, "a side stream needs a GPU");
}

}  // namespace intaglio
