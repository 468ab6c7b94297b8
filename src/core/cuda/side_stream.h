// core/side_stream.h on the current device.
#pragma once

#include <memory>

#include "core/side_stream.h"

namespace intaglio::cuda {

Expected<std::unique_ptr<SideStream>> make_side_stream();

}  // namespace intaglio::cuda
