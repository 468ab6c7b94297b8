// A file that is read piece by piece while others may write to it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <ctime>
#include <filesystem>
#include <memory>
#include <span>

#include "core/status.h"

namespace intaglio {

// Read with system calls and never mapped: a mapped file that shrinks ends the process by a signal.
class InputFile {
 public:
  // Regular files only. kNotFound, or kIo with the reason.
  static Expected<std::shared_ptr<const InputFile>> open(const std::filesystem::path& path);
  ~InputFile();
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;

  const std::filesystem::path& path() const { return path_; }
  uint64_t size() const { return size_; }
  // Fills `target` from `offset` on, which must lie within the size. kIo if the file is no longer
  // as it was when it was opened, by its size and the time it was last written to. Thread-safe.
  Status read(uint64_t offset, std::span<std::byte> target) const;

 private:
  InputFile(std::filesystem::path path, int descriptor)
      : path_(std::move(path)), descriptor_(descriptor) {}
  std::filesystem::path path_;
  int descriptor_ = -1;
  uint64_t size_ = 0;
  timespec written_{};
};

}  // namespace intaglio
