// A checkpoint of random weights in a model's sizes, stored as published FP8 files are: e4m3 rows
// with a scale each where the model quantizes, bf16 elsewhere.
#pragma once

#include <filesystem>

#include "core/status.h"
#include "models/transformer.h"

namespace intaglio::cli {

// One safetensors file, tensor by tensor; the same bytes at every call. kCancelled soon after the
// program is asked to stop; the next call goes on with what is there.
Status write_fp8_checkpoint(const std::filesystem::path& file, Transformer& transformer);

}  // namespace intaglio::cli
