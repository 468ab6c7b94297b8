// What core/device_link.h says, of two GPUs.
#pragma once

#include <memory>

#include "core/device_link.h"

namespace intaglio::cuda {

// The current device is what it was, afterwards.
Expected<std::unique_ptr<DeviceLink>> make_device_link(const Context& from, const Context& to,
                                                       size_t most_bytes);

Expected<bool> reach_each_other(const Context& a, const Context& b);

}  // namespace intaglio::cuda
