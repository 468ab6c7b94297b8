#include "core/large_copies.h"

#if defined(INTAGLIO_HAS_CUDA)
#include "core/cuda/device.h"
#include "core/cuda/staged_copy.h"
#endif

namespace intaglio {

LargeCopies::LargeCopies([[maybe_unused]] const Context& context) {
#if defined(INTAGLIO_HAS_CUDA)
  if (context.gpu == nullptr) return;
  ordinal_ = context.gpu->ordinal;
  cuda::begin_staged_copies(ordinal_);
#endif
}

LargeCopies::~LargeCopies() {
#if defined(INTAGLIO_HAS_CUDA)
  if (ordinal_ >= 0) cuda::end_staged_copies(ordinal_);
#endif
}

}  // namespace intaglio
