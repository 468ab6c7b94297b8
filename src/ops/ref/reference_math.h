// The arithmetic of ops/nonlinearity.h in double: what vector forms are compared with. Host and
// device.
#pragma once

#include <cmath>

#include "core/host_device.h"

namespace intaglio {

struct ReferenceMath {
  using Value = double;
  static INTAGLIO_HOST_DEVICE double set(double x) { return x; }
  static INTAGLIO_HOST_DEVICE double add(double a, double b) { return a + b; }
  static INTAGLIO_HOST_DEVICE double multiply(double a, double b) { return a * b; }
  static INTAGLIO_HOST_DEVICE double tanh(double x) { return std::tanh(x); }
  static INTAGLIO_HOST_DEVICE double quotient(double x, double u) {
    return x / (1.0 + std::exp(-u));
  }
};

}  // namespace intaglio
