#include "core/atomic_file.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <climits>
#include <cstring>
#include <utility>

namespace intaglio {
namespace {

namespace fs = std::filesystem;

// Names that a signal handler may have to remove. A slot is written while kFilling and read while
// kLive, before the file exists until after it is gone.
enum SlotState : int { kFree, kFilling, kLive };
struct Slot {
  std::atomic<int> state{kFree};
  std::array<char, PATH_MAX> path;
};
static_assert(std::atomic<int>::is_always_lock_free, "used in a signal handler");
std::array<Slot, 64> slots;

// -1 if all are taken or the path is too long for any system call.
int register_name(const fs::path& path) {
  if (path.native().size() >= PATH_MAX) return -1;
  for (size_t i = 0; i < slots.size(); ++i) {
    int expected = kFree;
    if (!slots[i].state.compare_exchange_strong(expected, kFilling)) continue;
    std::memcpy(slots[i].path.data(), path.c_str(), path.native().size() + 1);
    slots[i].state.store(kLive);
    return static_cast<int>(i);
  }
  return -1;
}

tl::unexpected<Error> cannot_write(const fs::path& target, std::string_view reason) {
  return make_error(ErrorCode::kIo, "{}: cannot write: {}", target.string(), reason);
}

// The file that a chain of links ends at, which need not exist. Not every link says in words where
// it leads (/proc/self/fd/1 of a pipe), so this is for regular files and nothing.
Expected<fs::path> follow_links(const fs::path& target) {
  constexpr int kMostLinks = 40;  // the system's own limit
  fs::path path = target;
  std::error_code error;
  for (int i = 0; i < kMostLinks; ++i) {
    if (!fs::is_symlink(fs::symlink_status(path, error))) return path;
    const fs::path next = fs::read_symlink(path, error);
    if (error) return cannot_write(target, error.message());
    path = next.is_absolute() ? next : folder_of(path) / next;
  }
  return cannot_write(target, std::strerror(ELOOP));
}

std::atomic<const std::atomic<bool>*> cancel_flag{nullptr};

// Whoever reads a pipe may take his time.
Status wait_for_reader(int descriptor) {
  constexpr int kLookMs = 100;
  for (;;) {
    const std::atomic<bool>* const cancel = cancel_flag;
    if (cancel != nullptr && *cancel) return make_error(ErrorCode::kCancelled, "cancelled");
    pollfd ready{.fd = descriptor, .events = POLLOUT, .revents = 0};
    if (::poll(&ready, 1, kLookMs) > 0) return {};
  }
}

}  // namespace

bool flush_to_disk(int descriptor) {
  return ::fsync(descriptor) == 0 || errno == EINVAL || errno == ENOSYS || errno == ENOTSUP;
}

void flush_folder_of(const fs::path& target) {
  const int folder = ::open(folder_of(target).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0) return;
  static_cast<void>(::fsync(folder));
  ::close(folder);
}

fs::path folder_of(const fs::path& target) {
  const fs::path parent = target.parent_path();
  return parent.empty() ? fs::path(".") : parent;
}

void remove_temporary_files() noexcept {
  for (Slot& slot : slots)
    if (slot.state.load() == kLive) ::unlink(slot.path.data());
}

tl::unexpected<Error> AtomicFile::failure(int error) const {
  return cannot_write(target_, std::strerror(error));
}

Expected<AtomicFile> AtomicFile::create(const fs::path& target, Temporary temporary) {
  if (target.filename().empty()) return cannot_write(target, "not a file name");
  struct stat status {};
  const bool exists = ::stat(target.c_str(), &status) == 0;
  if (!exists && errno != ENOENT) return cannot_write(target, std::strerror(errno));
  if (exists && !S_ISREG(status.st_mode)) return open_direct(target);
  // A file that may not be written to is not replaced either; it may also have gone by now.
  if (exists && ::access(target.c_str(), W_OK) != 0 && errno != ENOENT)
    return cannot_write(target, std::strerror(errno));
  INTAGLIO_ASSIGN(const fs::path path, follow_links(target));
  AtomicFile file(path, Kind::kNameless);
  if (temporary == Temporary::kNamed || !file.open_nameless()) {
    if (file.descriptor_ >= 0) ::close(std::exchange(file.descriptor_, -1));
    file.kind_ = Kind::kNamed;
    INTAGLIO_TRY(file.open_named());
  }
  // Who may read it stays as it was; not every file system can tell.
  if (exists) (void)::fchmod(file.descriptor_, status.st_mode & 07777);
  return file;
}

Expected<AtomicFile> AtomicFile::open_direct(const fs::path& target) {
  AtomicFile file(target, Kind::kDirect);
  struct stat status {};
  // Without O_NONBLOCK a pipe that nobody reads would wait for ever.
  file.descriptor_ = ::open(target.c_str(), O_WRONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
  if (file.descriptor_ < 0 && errno == ENXIO)
    return cannot_write(target, ::stat(target.c_str(), &status) == 0 && S_ISFIFO(status.st_mode)
                                    ? "nobody reads from it"
                                    : std::strerror(ENXIO));
  if (file.descriptor_ < 0 || ::fstat(file.descriptor_, &status) != 0) return file.failure(errno);
  if (!S_ISCHR(status.st_mode) && !S_ISFIFO(status.st_mode))
    return cannot_write(target, "neither a file nor a pipe nor a character device");
  return file;
}

// Fails wherever the file could not be given a name later: then a named one has to do.
Status AtomicFile::open_nameless() {
#if defined(O_TMPFILE)
  descriptor_ = ::open(folder_of(target_).c_str(), O_WRONLY | O_TMPFILE | O_CLOEXEC, 0666);
  if (descriptor_ < 0) return failure(errno);
  const std::string link = fmt::format("/proc/self/fd/{}", descriptor_);
  if (::access(link.c_str(), F_OK) != 0) return failure(errno);
  return {};
#else
  return failure(ENOTSUP);
#endif
}

void AtomicFile::take_name() {
  // Short: the target's name may already be as long as the file system allows.
  static std::atomic<unsigned> counter{0};
  drop_name();
  temporary_ = folder_of(target_) /
               fmt::format(".intaglio-{}-{}.tmp", static_cast<int>(::getpid()), counter++);
  slot_ = register_name(temporary_);
}

void AtomicFile::drop_name() {
  if (slot_ >= 0) slots[static_cast<size_t>(std::exchange(slot_, -1))].state.store(kFree);
  temporary_.clear();
}

Status AtomicFile::open_named() {
  // A leftover of a killed process with our id may have the name: take the next.
  for (int attempt = 0; attempt < 100; ++attempt) {
    take_name();
    descriptor_ =
        ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (descriptor_ >= 0) return {};
    if (errno != EEXIST) break;
  }
  const int error = errno;
  drop_name();
  return failure(error);
}

AtomicFile::AtomicFile(AtomicFile&& other) noexcept
    : target_(std::move(other.target_)),
      temporary_(std::move(other.temporary_)),
      kind_(other.kind_),
      slot_(std::exchange(other.slot_, -1)),
      descriptor_(std::exchange(other.descriptor_, -1)) {
  other.temporary_.clear();
}

AtomicFile::~AtomicFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
  drop_name();
}

void AtomicFile::set_cancel(const std::atomic<bool>* cancel) { cancel_flag = cancel; }

Status AtomicFile::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(descriptor_, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0 && errno == EAGAIN && kind_ == Kind::kDirect) {
      INTAGLIO_TRY(wait_for_reader(descriptor_));
      continue;
    }
    if (written <= 0) return failure(written < 0 ? errno : EIO);
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
  return {};
}

Status AtomicFile::flush_and_close() {
  const bool synced = flush_to_disk(descriptor_);
  const int sync_error = errno;
  if (kind_ == Kind::kNameless) {  // the descriptor is needed for its name
    if (!synced) return failure(sync_error);
    return {};
  }
  const int close_result = ::close(std::exchange(descriptor_, -1));
  if (!synced) return failure(sync_error);
  if (close_result != 0) return failure(errno);
  return {};
}

Status AtomicFile::commit() {
  INTAGLIO_TRY(flush_and_close());
  if (kind_ == Kind::kDirect) return {};
  if (kind_ == Kind::kNameless) {
    const std::string link = fmt::format("/proc/self/fd/{}", descriptor_);
    const auto link_to = [&](const fs::path& name) {
      return ::linkat(AT_FDCWD, link.c_str(), AT_FDCWD, name.c_str(), AT_SYMLINK_FOLLOW) == 0;
    };
    bool linked = link_to(target_);
    // A link replaces nothing: over a file there it takes a name for a moment.
    const bool replaces = !linked && errno == EEXIST;
    for (int attempt = 0; replaces && !linked && attempt < 100; ++attempt) {
      take_name();
      linked = link_to(temporary_);
      if (!linked && errno != EEXIST) break;
    }
    if (!linked) {
      const int error = errno;
      drop_name();
      return failure(error);
    }
    ::close(std::exchange(descriptor_, -1));  // all of it is on the disk
  }
  if (!temporary_.empty()) {
    if (::rename(temporary_.c_str(), target_.c_str()) != 0) return failure(errno);
    drop_name();
  }
  flush_folder_of(target_);
  return {};
}

}  // namespace intaglio
