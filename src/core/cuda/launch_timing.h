// Times of launches on the current device's default stream, by events.
#pragma once

#include <functional>

#include "core/status.h"

namespace intaglio::cuda {

// Milliseconds of one of `launches` calls made in a row; waits for them.
Expected<double> launch_time_ms(const std::function<Status()>& launch, int launches);

}  // namespace intaglio::cuda
