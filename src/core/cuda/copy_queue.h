// The copy queue of the current device.
#pragma once

#include <memory>

#include "core/copy_queue.h"

namespace intaglio::cuda {

Expected<std::unique_ptr<CopyQueue>> make_copy_queue(size_t slots);

}  // namespace intaglio::cuda
