// Floats in fewer bits.
#pragma once

#include <cstddef>

#include "core/dtype.h"

namespace intaglio {

// `count` elements of F32, F16 or BF16, each rounded to nearest even: convert_to_f32 (core/dtype.h)
// the other way. `target` may be unaligned.
void convert_from_f32(const float* source, DType target_dtype, void* target, size_t count);

}  // namespace intaglio
