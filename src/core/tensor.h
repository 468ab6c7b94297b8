// Views of dense row-major tensors. A view never owns memory.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>

#include "core/dtype.h"

namespace intaglio {

inline constexpr int kMaxRank = 5;

// Sizes of a dense row-major tensor; rank 0 is a scalar of one element.
struct Shape {
  std::array<int64_t, kMaxRank> dims{};
  int rank = 0;

  Shape() = default;
  Shape(std::initializer_list<int64_t> sizes) {
    for (int64_t size : sizes) {
      if (rank < kMaxRank) dims[static_cast<size_t>(rank++)] = size;
    }
  }
  int64_t operator[](int axis) const { return dims[static_cast<size_t>(axis)]; }
  int64_t count() const {
    int64_t n = 1;
    for (int axis = 0; axis < rank; ++axis) n *= dims[static_cast<size_t>(axis)];
    return n;
  }
  bool operator==(const Shape& other) const = default;
};

// "[2, 3]"
std::string to_string(const Shape& shape);

struct TensorView {
  const void* data = nullptr;
  DType dtype = DType::kF32;
  Shape shape;

  size_t size_bytes() const { return static_cast<size_t>(shape.count()) * dtype_size(dtype); }
  template <typename T>
  const T* as() const {
    return static_cast<const T*>(data);
  }
};

struct MutableTensorView {
  void* data = nullptr;
  DType dtype = DType::kF32;
  Shape shape;

  template <typename T>
  T* as() const {
    return static_cast<T*>(data);
  }
  operator TensorView() const { return {data, dtype, shape}; }
};

}  // namespace intaglio
