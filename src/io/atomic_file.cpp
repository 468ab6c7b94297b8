#include "io/atomic_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <utility>

namespace intaglio {
namespace {

std::filesystem::path folder_of(const std::filesystem::path& target) {
  const std::filesystem::path parent = target.parent_path();
  return parent.empty() ? std::filesystem::path(".") : parent;
}

}  // namespace

Expected<AtomicFile> AtomicFile::create(const std::filesystem::path& target) {
  static std::atomic<unsigned> counter{0};
  if (target.filename().empty()) {
    return make_error(ErrorCode::kIo, "{}: cannot write: not a file name", target.string());
  }
  // A short name of its own: the target's name may already be as long as the file system allows.
  for (int attempt = 0; attempt < 100; ++attempt) {
    std::filesystem::path temporary =
        folder_of(target) / fmt::format(".intaglio-{}-{}.tmp", ::getpid(), counter.fetch_add(1));
    const int descriptor =
        ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (descriptor >= 0) return AtomicFile(target, std::move(temporary), descriptor);
    if (errno != EEXIST) break;  // a leftover of a killed process with our id: take the next number
  }
  return make_error(ErrorCode::kIo, "{}: cannot write: {}", target.string(), std::strerror(errno));
}

AtomicFile::AtomicFile(AtomicFile&& other) noexcept
    : target_(std::move(other.target_)),
      temporary_(std::move(other.temporary_)),
      descriptor_(std::exchange(other.descriptor_, -1)) {
  other.temporary_.clear();
}

AtomicFile::~AtomicFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

Status AtomicFile::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(descriptor_, bytes.data(), bytes.size());
    if (written < 0) {
      if (errno == EINTR) continue;
      return make_error(ErrorCode::kIo, "{}: cannot write: {}", target_.string(),
                        std::strerror(errno));
    }
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
  return {};
}

Status AtomicFile::commit() {
  // Some file systems (network shares, pipes of containers) know no fsync; that alone does not make
  // the file wrong.
  int result = ::fsync(descriptor_);
  if (result != 0 && (errno == EINVAL || errno == ENOSYS || errno == ENOTSUP)) result = 0;
  const int sync_error = result == 0 ? 0 : errno;
  const int close_result = ::close(std::exchange(descriptor_, -1));
  if (sync_error != 0 || close_result != 0) {
    return make_error(ErrorCode::kIo, "{}: cannot write: {}", target_.string(),
                      std::strerror(sync_error != 0 ? sync_error : errno));
  }
  if (::rename(temporary_.c_str(), target_.c_str()) != 0) {
    return make_error(ErrorCode::kIo, "{}: cannot write: {}", target_.string(),
                      std::strerror(errno));
  }
  temporary_.clear();
  // The rename itself must survive a power cut; a folder that cannot be opened for reading is no
  // failure.
  const int folder = ::open(folder_of(target_).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder >= 0) {
    ::fsync(folder);
    ::close(folder);
  }
  return {};
}

}  // namespace intaglio
