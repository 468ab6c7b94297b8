// Small float passes that no kernel fuses: conversion, SiLU, addition.
#pragma once

#include <cstdint>

#include "core/context.h"
#include "core/dtype.h"

namespace intaglio {

// target[i] = source[i] between F32 and BF16 (round to nearest even), in any combination.
void convert_elements(const Context& context, const void* source, DType source_dtype, void* target,
                      DType target_dtype, int64_t count);

// x[i] = x[i] / (1 + exp(-x[i])), F32 in place.
void silu_in_place(const Context& context, float* x, int64_t count);

// h[i] += y[i]; h F32, y F32 or BF16.
void add_in_place(const Context& context, float* h, const void* y, DType y_dtype, int64_t count);

}  // namespace intaglio
