#include "server/lora_folder.h"

#include <algorithm>

#include "core/utf8.h"
#include "io/printable.h"

namespace intaglio::server {
namespace {

namespace fs = std::filesystem;

constexpr const char* kExtension = ".safetensors";
constexpr size_t kMostBytes = 200;

// The name of a file, no way to one.
bool is_name(const std::string& name) {
  return !name.empty() && name.size() <= kMostBytes && name.front() != '.' && is_utf8(name) &&
         std::none_of(name.begin(), name.end(), [](char c) {
           return c == '/' || c == '\\' || static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
         });
}

}  // namespace

// Itself, or by a link to another of its files.
bool LoraFolder::holds(const fs::path& file) const {
  std::error_code error;
  const fs::path real = fs::canonical(file, error);
  if (error || !fs::is_regular_file(real, error)) return false;
  const fs::path folder = fs::canonical(folder_, error);
  return !error && real.parent_path() == folder;
}

std::vector<std::string> LoraFolder::names() const {
  std::vector<std::string> names;
  if (folder_.empty()) return names;
  std::error_code error;
  for (fs::directory_iterator it(folder_, error), end; !error && it != end; it.increment(error)) {
    const fs::path& file = it->path();
    const std::string name = file.stem().string();
    if (file.extension() == kExtension && is_name(name) && holds(file)) names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

Expected<fs::path> LoraFolder::file(const std::string& name) const {
  if (!folder_.empty() && is_name(name)) {
    const fs::path file = folder_ / (name + kExtension);
    if (holds(file)) return file;
  }
  return make_error(ErrorCode::kNotFound, "there is no adapter \"{}\" here", printable(name, 60));
}

}  // namespace intaglio::server
