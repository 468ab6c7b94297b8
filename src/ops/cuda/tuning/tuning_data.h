// The files of src/ops/cuda/tuning/data/, compiled into the binary by cmake/embed_text.cmake.
#pragma once

#include <span>

#include "core/embedded_file.h"

namespace intaglio::cuda {

// "sm86.json", "shipped_nvidia_h100_80gb_hbm3.json", ...
std::span<const EmbeddedFile> tuning_data_files();

}  // namespace intaglio::cuda
