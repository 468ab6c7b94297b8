// How near to the float32 reference each stage must come at each precision; docs/numerics.md gives
// the reasons.
#pragma once

#include "models/parts/selection.h"

namespace intaglio {

// Relative errors ||a - b|| / ||b||; the schedule's is absolute.
struct Tolerances {
  double text_features, velocity, vae, latents, image, schedule;
};

constexpr Tolerances tolerances_for(Precision precision) {
  switch (precision) {
    case Precision::kFp32:
      return {1e-5, 2e-4, 1e-4, 2e-3, 2e-3, 1e-6};
    case Precision::kBf16:
      return {2e-2, 1.5e-2, 4e-2, 5e-2, 5e-2, 1e-6};
    case Precision::kInt8:
    case Precision::kInt8Dequant:
      return {2e-2, 4e-2, 4e-2, 1.5e-1, 1e-1, 1e-6};
    case Precision::kFp8:
      return {2e-2, 8e-2, 4e-2, 3e-1, 2e-1, 1e-6};
    case Precision::kNf4:
      return {2e-2, 2e-1, 4e-2, 4e-1, 3e-1, 1e-6};
  }
  return {};
}

}  // namespace intaglio
