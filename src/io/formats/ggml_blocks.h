// ggml's types of numbers, by which GGUF files hold tensors (llama.cpp, ggml 0.27 of October 2026):
// plain ones, and blocks along a row that share scales.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "core/dtype.h"
#include "core/status.h"
#include "io/tensor_file.h"

namespace intaglio {

struct GgmlType {
  uint32_t id;
  const char* name;            // "Q4_K"
  int64_t elements;            // of a block
  int64_t bytes;               // of a block
  std::optional<DType> dtype;  // of a type that is a plain one, its blocks single elements
  // `count` blocks as floats; nullptr: of plain types, and of those known by their size alone.
  void (*decode)(const std::byte* blocks, int64_t count, float* out);
};

// nullptr: none of that number, or one that ggml has given up.
const GgmlType* find_ggml_type(uint32_t id);

inline bool has_decoded_blocks(const TensorEntry& entry) {
  return entry.blocks && entry.blocks->type->decode != nullptr;
}
// Elements [first, first + count) of a tensor of blocks, which lie within, as floats. kUnsupported
// for a type that is not decoded; kIo.
Status read_block_floats(const TensorEntry& entry, int64_t first, int64_t count, float* out);

}  // namespace intaglio
