// core/device_link.h between two GPUs.
#pragma once

#include <memory>

#include "core/device_link.h"

namespace intaglio::cuda {

// The current device is what it was, afterwards.
Expected<std::unique_ptr<DeviceLink>> make_device_link(const Context& from, const Context& to,
                                                       size_t most_bytes);

}  // namespace intaglio::cuda
