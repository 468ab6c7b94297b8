// A file that appears whole or not at all.
#pragma once

#include <atomic>
#include <cstddef>
#include <filesystem>
#include <span>
#include <string>

#include "core/status.h"

namespace intaglio {

// Whether what was written to it is on the disk; else errno says why not. Some file systems
// (network shares, pipes of containers) know no fsync; that alone does not make a file wrong.
bool flush_to_disk(int descriptor);
// Makes a name in the target's folder survive a power cut. A folder that cannot be opened for
// reading is no failure.
void flush_folder_of(const std::filesystem::path& target);
std::filesystem::path folder_of(const std::filesystem::path& target);  // "." of a lone name

// Where the system allows it the file has no name until it is whole, so that nothing is left
// however the process ends. Elsewhere it has a temporary one in the target's folder, which the
// destructor and `remove_temporary_files` remove.
//
// A link is written through. A character device or a pipe takes the bytes as they come; everything
// else that is no regular file is refused, never replaced.
class AtomicFile {
 public:
  enum class Temporary { kNameless, kNamed };

  // Errors: kIo with the system's reason (folder missing, not writable, ...).
  static Expected<AtomicFile> create(const std::filesystem::path& target,
                                     Temporary temporary = Temporary::kNameless);

  // The process's flag that asks to stop; nullptr: none. It must outlive all writes.
  static void set_cancel(const std::atomic<bool>* cancel);

  AtomicFile(AtomicFile&& other) noexcept;
  AtomicFile& operator=(AtomicFile&&) = delete;
  ~AtomicFile();

  // kCancelled once the flag of set_cancel is set while a pipe's reader takes nothing.
  Status write(std::span<const std::byte> bytes);
  // Flushes to the disk and gives the file its name. Call once.
  Status commit();

 private:
  // kDirect: the target itself, which is no regular file.
  enum class Kind { kNameless, kNamed, kDirect };

  AtomicFile(std::filesystem::path target, Kind kind) : target_(std::move(target)), kind_(kind) {}
  static Expected<AtomicFile> open_direct(const std::filesystem::path& target);
  Status open_nameless();
  Status open_named();
  // Points `temporary_` to the next free name and `slot_` to its place among those to remove.
  void take_name();
  void drop_name();
  Status flush_and_close();
  tl::unexpected<Error> failure(int error) const;

  std::filesystem::path target_;     // where the bytes go, links resolved
  std::filesystem::path temporary_;  // empty: there is none
  Kind kind_ = Kind::kNamed;
  int slot_ = -1;
  int descriptor_ = -1;
};

// Removes the temporary files of all AtomicFiles that have one. Async-signal-safe, for a handler
// that ends the process: nothing may be written afterwards.
void remove_temporary_files() noexcept;

}  // namespace intaglio
