#include "generate/picture_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/dtype.h"
#include "io/printable.h"
#include "io/safetensors.h"

namespace intaglio::cli {
namespace {

namespace fs = std::filesystem;

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  return text;
}

}  // namespace

Expected<fs::path> picture_path(const PictureName& name) {
  std::error_code ignored;
  const bool folder =
      name.output.empty() || name.output.back() == '/' || fs::is_directory(name.output, ignored);
  if (folder) {
    const std::string prompt = name.prompt ? fmt::format("{:04}-", *name.prompt + 1) : "";
    return fs::path(name.output) / fmt::format("intaglio-{}{}.png", prompt, name.seed);
  }
  if (lower(fs::path(name.output).extension().string()) != ".png") {
    return make_error(ErrorCode::kInvalidArgument,
                      "--output {}: expected a file name that ends in .png, an existing folder or "
                      "a new one with a slash at its end",
                      printable(name.output));
  }
  return numbered(name.output, name.index, name.count);
}

fs::path numbered(const fs::path& path, int64_t index, int64_t count) {
  if (count == 1) return path;
  return path.parent_path() /
         fmt::format("{}_{:04}{}", path.stem().string(), index + 1, path.extension().string());
}

Expected<std::vector<float>> read_noise(const fs::path& path, int64_t tokens, int64_t channels) {
  INTAGLIO_ASSIGN(const auto file, SafetensorsFile::open(path));
  const TensorEntry* entry = file->find("noise");
  if (entry == nullptr && file->tensors().size() == 1) entry = &file->tensors().front();
  if (entry == nullptr) {
    return make_error(ErrorCode::kInvalidArgument,
                      "--noise {}: expected a tensor \"noise\", found {} others", path.string(),
                      file->tensors().size());
  }
  const TensorView& view = entry->view;
  if (!is_float(view.dtype) || view.shape != Shape{tokens, channels}) {
    return make_error(ErrorCode::kInvalidArgument,
                      "--noise {}: expected a float tensor [{}, {}] for this size, found {} {}",
                      path.string(), tokens, channels, dtype_name(view.dtype),
                      to_string(view.shape));
  }
  INTAGLIO_ASSIGN(std::vector<float> values, read_floats(*entry));
  if (!std::all_of(values.begin(), values.end(),
                   [](float value) { return std::isfinite(value); })) {
    return make_error(ErrorCode::kInvalidArgument, "--noise {}: holds values that are not finite",
                      path.string());
  }
  return values;
}

Status write_matrix(const fs::path& path, const std::string& name, const std::vector<float>& values,
                    int64_t rows, int64_t cols,
                    const std::map<std::string, std::string>& metadata) {
  if (static_cast<int64_t>(values.size()) != rows * cols) {
    return make_error(ErrorCode::kInternal, "{}: {} values for {} x {}", name, values.size(), rows,
                      cols);
  }
  const TensorEntry entry{name, {values.data(), DType::kF32, Shape{rows, cols}}};
  return write_safetensors(path, std::span(&entry, 1), metadata);
}

}  // namespace intaglio::cli
