#include "core/tensor.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <span>

namespace intaglio {

std::string to_string(const Shape& shape) {
  return fmt::format(
      "[{}]", fmt::join(std::span(shape.dims.data(), static_cast<size_t>(shape.rank)), ", "));
}

}  // namespace intaglio
