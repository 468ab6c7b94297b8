// A file that appears whole or not at all.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>

#include "core/status.h"

namespace intaglio {

// Writes go to a temporary file in the target's folder; commit() moves it over the target. Without
// commit the destructor removes it.
class AtomicFile {
 public:
  // Errors: kIo with the system's reason (folder missing, not writable, ...).
  static Expected<AtomicFile> create(const std::filesystem::path& target);

  AtomicFile(AtomicFile&& other) noexcept;
  AtomicFile& operator=(AtomicFile&&) = delete;
  ~AtomicFile();

  Status write(std::span<const std::byte> bytes);
  // Flushes to the disk and renames. Call once.
  Status commit();

 private:
  AtomicFile(std::filesystem::path target, std::filesystem::path temporary, int descriptor)
      : target_(std::move(target)), temporary_(std::move(temporary)), descriptor_(descriptor) {}
  std::filesystem::path target_;
  std::filesystem::path temporary_;
  int descriptor_ = -1;
};

}  // namespace intaglio
