// The lists of implementations begin with those for GPUs in builds that have them.
#pragma once

#include <algorithm>
#include <span>

#include "core/registry.h"

namespace intaglio {

template <typename Implementation>
const Implementation& first_on_cpu(std::span<const Implementation> list) {
  return *std::find_if(list.begin(), list.end(), [](const Implementation& implementation) {
    return implementation.device == DeviceKind::kCpu;
  });
}

}  // namespace intaglio
