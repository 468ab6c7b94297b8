// Functions of one value. Each is a type, whose formula stands here once.
//
//   Silu      x / (1 + exp(-x))
//   Tanh      tanh(x)
//   GeluTanh  0.5 x (1 + tanh(u)) = x / (1 + exp(-2 u)), u = sqrt(2 / pi) (x + 0.044715 x^3)
//   Sigmoid   1 / (1 + exp(-x))
//
// A type is given the arithmetic `Math` of who computes it, one for each instruction set and
// accuracy: `Value` (a number or a vector of them), `set`, `add` and `multiply`, each rounded, and
// `quotient(x, u)` = x / (1 + exp(-u)), in which exp may overflow. Those are ops/cpu/activation_*.h
// and ops/cuda/tile/activation.cuh. SiLU and GELU of -Inf are NaN. Host and device.
#pragma once

#include <cstdint>

#include "core/host_device.h"

namespace intaglio {

enum class Nonlinearity : int32_t { kSilu, kTanh, kGeluTanh, kSigmoid };

struct Identity {
  template <class Math>
  static INTAGLIO_HOST_DEVICE typename Math::Value of(typename Math::Value x) {
    return x;
  }
};

struct Silu {
  static constexpr const char* kName = "silu";
  template <class Math>
  static INTAGLIO_HOST_DEVICE typename Math::Value of(typename Math::Value x) {
    return Math::quotient(x, x);
  }
};

struct Tanh {
  static constexpr const char* kName = "tanh";
  template <class Math>
  static INTAGLIO_HOST_DEVICE typename Math::Value of(typename Math::Value x) {
    return Math::tanh(x);
  }
};

struct GeluTanh {
  static constexpr const char* kName = "gelu_tanh";
  template <class Math>
  static INTAGLIO_HOST_DEVICE typename Math::Value of(typename Math::Value x) {
    constexpr double kTwice = 1.5957691216057308;  // 2 sqrt(2 / pi)
    const typename Math::Value cube = Math::multiply(Math::multiply(x, x), x);
    const typename Math::Value sum = Math::add(x, Math::multiply(Math::set(0.044715), cube));
    return Math::quotient(x, Math::multiply(Math::set(kTwice), sum));
  }
};

struct Sigmoid {
  static constexpr const char* kName = "sigmoid";
  template <class Math>
  static INTAGLIO_HOST_DEVICE typename Math::Value of(typename Math::Value x) {
    return Math::quotient(Math::set(1.0), x);
  }
};

template <class Math, class Function>
INTAGLIO_HOST_DEVICE typename Math::Value activate(Function, typename Math::Value x) {
  return Function::template of<Math>(x);
}

// visit(type): the one place where a value of the enum becomes a type.
INTAGLIO_CALLS_BACK
template <class Visit>
INTAGLIO_HOST_DEVICE constexpr decltype(auto) visit_nonlinearity(Nonlinearity function,
                                                                 Visit&& visit) {
  switch (function) {
    case Nonlinearity::kTanh:
      return visit(Tanh{});
    case Nonlinearity::kGeluTanh:
      return visit(GeluTanh{});
    case Nonlinearity::kSigmoid:
      return visit(Sigmoid{});
    case Nonlinearity::kSilu:
      break;
  }
  return visit(Silu{});
}

}  // namespace intaglio
