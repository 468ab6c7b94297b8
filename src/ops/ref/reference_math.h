// The arithmetic of ops/nonlinearity.h in double: what vector forms are compared with.
#pragma once

#include <cmath>

namespace intaglio {

struct ReferenceMath {
  using Value = double;
  static double set(double x) { return x; }
  static double add(double a, double b) { return a + b; }
  static double multiply(double a, double b) { return a * b; }
  static double tanh(double x) { return std::tanh(x); }
  static double quotient(double x, double u) { return x / (1.0 + std::exp(-u)); }
};

}  // namespace intaglio
