// The files around a picture: their names, tensors in and out.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/status.h"
#include "pipeline/pipeline.h"

namespace intaglio::cli {

// What the name of a picture's file is made of.
struct PictureName {
  std::string output;  // empty, a folder (with a slash at its end or there already), or a file
  uint64_t seed = 0;
  int64_t index = 0, count = 1;  // among the pictures of one file name
  std::optional<size_t> prompt;  // its place, where a run has several
};
// In a folder intaglio-<seed>.png, or intaglio-<prompt>-<seed>.png; a file name as it is for one
// picture, with _0001, _0002, ... before its extension for more. kInvalidArgument if the file does
// not end in .png.
Expected<std::filesystem::path> picture_path(const PictureName& name);

// `path` with _0001 (index 0) before its extension, unless `count` is 1.
std::filesystem::path numbered(const std::filesystem::path& path, int64_t index, int64_t count);

// The noise to start from: the tensor "noise" of a safetensors file, or its only one; a float
// tensor [tokens, channels] of finite values. kInvalidArgument naming both shapes if they differ.
Expected<std::vector<float>> read_noise(const std::filesystem::path& path, int64_t tokens,
                                        int64_t channels);

// One F32 tensor [rows, cols] in a safetensors file.
Status write_matrix(const std::filesystem::path& path, const std::string& name,
                    const std::vector<float>& values, int64_t rows, int64_t cols,
                    const std::map<std::string, std::string>& metadata);

}  // namespace intaglio::cli
