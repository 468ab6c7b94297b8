// The files of src/ops/cuda/tuning/data/, compiled into the binary by cmake/embed_text.cmake.
#pragma once

#include <span>
#include <string_view>

namespace intaglio::cuda {

struct EmbeddedFile {
  std::string_view name;  // "sm86.json", "shipped_nvidia_h100_80gb_hbm3.json"
  std::string_view text;
};

std::span<const EmbeddedFile> tuning_data_files();

}  // namespace intaglio::cuda
