#include "quantize/model_copy.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <vector>

#include "core/atomic_file.h"
#include "core/files.h"
#include "core/input_file.h"
#include "io/json_config.h"

namespace intaglio::cli {
namespace {

namespace fs = std::filesystem;

// Weights of any format, their indexes, and what lies beside them of how they were quantized.
bool is_of_weights(const fs::path& file) {
  static constexpr std::string_view kEnds[] = {".safetensors",
                                               ".gguf",
                                               ".bin",
                                               ".index.json",
                                               ".index.fp16.json",
                                               "quantization_config.json"};
  const std::string name = file.filename().string();
  return std::any_of(std::begin(kEnds), std::end(kEnds),
                     [&](std::string_view end) { return name.ends_with(end); });
}

Status copy_config(const fs::path& source, const fs::path& target, const std::string& quantized) {
  INTAGLIO_ASSIGN(const JsonConfig config, JsonConfig::open(source));
  nlohmann::json json = config.json();
  size_t changed = 0;
  for (const char* const key : {"quantization_config", "ideogram_fp8_weight_only"})
    changed += json.erase(key);
  if (!quantized.empty()) {
    INTAGLIO_ASSIGN(json["quantization_config"], parse_json(quantized, "quantization_config"));
    ++changed;
  }
  if (changed > 0) return write_file_atomic(target, json.dump(2) + "\n");
  INTAGLIO_ASSIGN(const std::string text, read_file(source));
  return write_file_atomic(target, text);
}

Status copy_file(const fs::path& source, const fs::path& target, const std::atomic<bool>& cancel) {
  constexpr uint64_t kPieceBytes = 4 << 20;
  INTAGLIO_ASSIGN(const std::shared_ptr<const InputFile> input, InputFile::open(source));
  std::error_code ignored;
  if (fs::is_regular_file(target, ignored) && fs::file_size(target, ignored) == input->size())
    return {};
  INTAGLIO_ASSIGN(AtomicFile output, AtomicFile::create(target));
  std::vector<std::byte> piece;
  for (uint64_t at = 0; at < input->size(); at += piece.size()) {
    if (cancel) return make_error(ErrorCode::kCancelled, "cancelled");
    piece.resize(std::min(kPieceBytes, input->size() - at));
    INTAGLIO_TRY(input->read(at, piece));
    INTAGLIO_TRY(output.write(piece));
  }
  return output.commit();
}

}  // namespace

Status copy_around_weights(const fs::path& source, const fs::path& target,
                           const std::map<std::string, std::string>& quantized,
                           const std::atomic<bool>& cancel) {
  std::error_code error;
  std::vector<fs::path> files;
  auto at = fs::recursive_directory_iterator(source, error);
  for (; !error && at != fs::recursive_directory_iterator(); at.increment(error)) {
    if (at->path().filename().string().starts_with(".")) {
      at.disable_recursion_pending();
    } else if (at->is_regular_file()) {
      files.push_back(at->path());
    }
  }
  if (error)
    return make_error(ErrorCode::kIo, "{}: cannot list: {}", source.string(), error.message());
  std::sort(files.begin(), files.end());
  for (const fs::path& file : files) {
    const fs::path place = file.lexically_relative(source);
    const std::string folder = place.has_parent_path() ? place.parent_path().string() : ".";
    const auto config = quantized.find(folder);
    const bool beside = config != quantized.end();
    if (beside && is_of_weights(file)) continue;
    fs::create_directories((target / place).parent_path(), error);
    INTAGLIO_TRY(beside && file.filename() == "config.json"
                     ? copy_config(file, target / place, config->second)
                     : copy_file(file, target / place, cancel));
  }
  return {};
}

}  // namespace intaglio::cli
