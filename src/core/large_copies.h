// For those who load weights.
#pragma once

#include "core/context.h"

namespace intaglio {

// While one lives, large copies to the context's device (core/memory.h: copy_in) go through pinned
// memory, filled by the context's threads.
class LargeCopies {
 public:
  explicit LargeCopies(const Context& context);
  ~LargeCopies();
  LargeCopies(const LargeCopies&) = delete;
  LargeCopies& operator=(const LargeCopies&) = delete;

 private:
  int ordinal_ = -1;  // of the GPU
};

}  // namespace intaglio
