// Names of families, fusions and output types, as they stand in data files, caches and messages.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "ops/cuda/tuning/s8_gemm_choice.h"

namespace intaglio::cuda {

std::optional<S8GemmFamily> s8_gemm_family_from_name(std::string_view name);

// The inverse of epilogue_name.
std::optional<GemmEpilogue> epilogue_from_name(std::string_view name);

const char* s8_out_name(DType out);  // "i32", "f32", "bf16", "f16"
std::optional<DType> s8_out_from_name(std::string_view name);

// "m 4608, n 24576, k 4608, swiglu, bf16"
std::string describe(const S8GemmShape& shape);
// "sm80_s8_gemm 128x256x64, band 8, split 1"
std::string describe(const S8GemmChoice& choice);

}  // namespace intaglio::cuda
