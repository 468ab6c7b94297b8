// Files of matrix products: lines of "[name] m n k [swiglu] [f32|bf16|f16|i32]"; '#' starts a
// comment.
#pragma once

#include <string>
#include <vector>

#include "core/status.h"
#include "ops/cuda/tuning/s8_gemm_choice.h"

namespace intaglio::cli {

struct ShapeLine {
  std::string name;
  cuda::S8GemmShape shape;  // bf16 output and no epilogue unless the line says so
};

// kInvalidArgument, with `where`, unless the sizes are within what the kernels and a benchmark's
// memory can serve.
Status check_shape(const cuda::S8GemmShape& shape, const std::string& where);

// Errors: kInvalidArgument naming file, line and what was found.
Expected<std::vector<ShapeLine>> read_shape_file(const std::string& path);

}  // namespace intaglio::cli
