// ggml's types of numbers, by which GGUF files hold tensors (llama.cpp, ggml 0.27 of October 2026):
// plain ones, and blocks along a row that share scales.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "core/dtype.h"

namespace intaglio {

struct GgmlType {
  uint32_t id;
  const char* name;            // "Q4_K"
  int64_t elements;            // of a block
  int64_t bytes;               // of a block
  std::optional<DType> dtype;  // of a type that is a plain one, its blocks single elements
};

// nullptr: none of that number, or one that ggml has given up.
const GgmlType* find_ggml_type(uint32_t id);

}  // namespace intaglio
