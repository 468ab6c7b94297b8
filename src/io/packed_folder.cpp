#include "io/packed_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "core/memory_info.h"

namespace intaglio {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kExtension = ".packed", kHashExtension = ".hash";
// Nobody writes one file for as long: what is older was left behind by a killed process.
constexpr std::time_t kStaleSeconds = 24 * 60 * 60;

tl::unexpected<Error> failure(const fs::path& path, std::string_view doing, int error) {
  return make_error(ErrorCode::kIo, "{}: cannot {}: {}", path.string(), doing,
                    std::strerror(error));
}

// An open file or folder, and its lock if there is one.
class Descriptor {
 public:
  explicit Descriptor(int value) : value_(value) {}
  Descriptor(Descriptor&& other) noexcept : value_(std::exchange(other.value_, -1)) {}
  Descriptor& operator=(Descriptor&&) = delete;
  ~Descriptor() {
    if (value_ >= 0) ::close(value_);
  }
  int get() const { return value_; }

 private:
  int value_;
};

// Of whoever adds to the folder or makes room in it.
Expected<Descriptor> lock_folder(const fs::path& folder) {
  Descriptor opened(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (opened.get() < 0) return failure(folder, "read", errno);
  while (::flock(opened.get(), LOCK_EX) != 0)
    if (errno != EINTR) return failure(folder, "lock", errno);
  return opened;
}

// The file's exclusive lock; -1: others have it open.
Descriptor try_lock(const fs::path& file) {
  Descriptor opened(::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (opened.get() >= 0 && ::flock(opened.get(), LOCK_EX | LOCK_NB) == 0) return opened;
  return Descriptor(-1);
}

void remove_stale(const fs::path& folder) {
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(folder, ignored)) {
    const std::string name = entry.path().filename().string();
    struct stat status {};
    if (!name.starts_with(".intaglio-") || !name.ends_with(".tmp")) continue;
    if (::lstat(entry.path().c_str(), &status) != 0 || !S_ISREG(status.st_mode)) continue;
    if (std::time(nullptr) - status.st_mtim.tv_sec > kStaleSeconds) ::unlink(entry.path().c_str());
  }
}

// Without a look into the files.
Expected<std::vector<PackedEntry>> files_of(const fs::path& folder) {
  std::vector<PackedEntry> entries;
  std::error_code error;
  fs::directory_iterator files(folder, error);
  if (error == std::errc::no_such_file_or_directory) return entries;
  if (error) return failure(folder, "read", error.value());
  std::vector<std::pair<timespec, PackedEntry>> found;
  for (const auto& file : files) {
    struct stat status {};
    if (file.path().extension() != kExtension) continue;
    if (::lstat(file.path().c_str(), &status) != 0 || !S_ISREG(status.st_mode)) continue;
    found.emplace_back(status.st_mtim, PackedEntry{.file = file.path(),
                                                   .bytes = static_cast<uint64_t>(status.st_size),
                                                   .last_used = status.st_mtim.tv_sec,
                                                   .in_use = try_lock(file.path()).get() < 0,
                                                   .about = {},
                                                   .problem = {}});
  }
  std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) {
    return std::pair(a.first.tv_sec, a.first.tv_nsec) > std::pair(b.first.tv_sec, b.first.tv_nsec);
  });
  for (auto& [time, entry] : found) entries.push_back(std::move(entry));
  return entries;
}

}  // namespace

fs::path packed_path(const fs::path& folder, std::string_view key) {
  return folder / fmt::format("{}{}", key, kExtension);
}

fs::path hash_path(const fs::path& folder, std::string_view key) {
  return folder / fmt::format("{}{}", key, kHashExtension);
}

void remove_hashes(const fs::path& folder) {
  std::error_code ignored;
  for (const auto& file : fs::directory_iterator(folder, ignored))
    if (file.path().extension() == kHashExtension) ::unlink(file.path().c_str());
}

Expected<std::vector<PackedEntry>> list_packed(const fs::path& folder) {
  INTAGLIO_ASSIGN(std::vector<PackedEntry> entries, files_of(folder));
  for (PackedEntry& entry : entries) {
    const auto file = PackedFile::open(entry.file);
    if (file) {
      entry.about = (*file)->index().about;
    } else {
      entry.problem = file.error().message;
    }
  }
  return entries;
}

Expected<bool> remove_packed(const fs::path& file) {
  const Descriptor lock = try_lock(file);
  if (lock.get() < 0) return false;
  if (::unlink(file.c_str()) != 0 && errno != ENOENT) return failure(file, "remove", errno);
  return true;
}

Status commit_packed(const fs::path& folder, uint64_t limit, PackedFileWriter& writer) {
  INTAGLIO_ASSIGN(const Descriptor lock, lock_folder(folder));
  remove_stale(folder);
  INTAGLIO_ASSIGN(std::vector<PackedEntry> entries, files_of(folder));
  uint64_t sum = writer.bytes(), in_use = writer.bytes();
  for (const PackedEntry& entry : entries) {
    sum += entry.bytes;
    if (entry.in_use) in_use += entry.bytes;
  }
  if (in_use > limit)
    return make_error(
        ErrorCode::kOutOfMemory,
        "packed weights of {} with what is in use there are more than the {} that the "
        "cache may take",
        format_bytes(writer.bytes()), format_bytes(limit));
  for (auto entry = entries.rbegin(); entry != entries.rend() && sum > limit; ++entry) {
    INTAGLIO_ASSIGN(const bool removed, remove_packed(entry->file));
    if (removed) sum -= entry->bytes;
  }
  return writer.commit();
}

Status check_disk(const fs::path& folder, uint64_t bytes) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) return failure(folder, "make the folder", error.value());
  fs::permissions(folder, fs::perms::owner_all, error);  // of nobody else's concern
  const fs::space_info space = fs::space(folder, error);
  if (error) return failure(folder, "read", error.value());
  if (space.available >= bytes && space.available - bytes >= space.capacity / 10) return {};
  return make_error(ErrorCode::kOutOfMemory,
                    "{}: {} of packed weights would leave less than a tenth of the disk free",
                    folder.string(), format_bytes(bytes));
}

}  // namespace intaglio
