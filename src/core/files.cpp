#include "core/files.h"

#include <cstdlib>
#include <memory>
#include <span>

#include "core/atomic_file.h"
#include "core/input_file.h"
#include "core/out_of_memory.h"

namespace intaglio {

Expected<std::string> read_file(const std::filesystem::path& path, size_t max_bytes) {
  INTAGLIO_ASSIGN(const std::shared_ptr<const InputFile> file, InputFile::open(path));
  if (file->size() > max_bytes) {
    return make_error(ErrorCode::kBadFormat, "{}: file of {} bytes, at most {} expected",
                      path.string(), file->size(), max_bytes);
  }
  std::string bytes(file->size(), '\0');
  INTAGLIO_TRY(file->read(0, std::as_writable_bytes(std::span(bytes))));
  return bytes;
}

Status write_file_atomic(const std::filesystem::path& path, std::string_view bytes) {
  return guard_file_memory(path, "writing", [&]() -> Status {
    INTAGLIO_ASSIGN(AtomicFile file, AtomicFile::create(path));
    INTAGLIO_TRY(file.write(std::as_bytes(std::span(bytes.data(), bytes.size()))));
    return file.commit();
  });
}

Expected<std::filesystem::path> cache_folder(std::string_view name, std::string_view what) {
  for (const auto& [variable, below] :
       {std::pair("XDG_CACHE_HOME", "intaglio"), std::pair("HOME", ".cache/intaglio")}) {
    const char* const value = std::getenv(variable);
    if (value != nullptr && *value == '/') return std::filesystem::path(value) / below / name;
  }
  return make_error(ErrorCode::kNotFound,
                    "no folder for {}: set XDG_CACHE_HOME or HOME to an absolute path", what);
}

}  // namespace intaglio
