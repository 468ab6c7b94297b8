#include "io/safetensors_writer.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "core/atomic_file.h"
#include "io/printable.h"
#include "io/safetensors_header.h"

namespace intaglio {
namespace {

namespace fs = std::filesystem;

constexpr size_t kPieceBytes = size_t{4} << 20;  // milliseconds, between looks at `cancel`
constexpr std::string_view kEnd = ".part";
constexpr size_t kDigits = 16;

bool is_part_of(const std::string& name, const std::string& target) {
  const std::string begin = target + ".";
  if (name.size() != begin.size() + kDigits + kEnd.size() || !name.starts_with(begin) ||
      !name.ends_with(kEnd))
    return false;
  return name.find_first_not_of("0123456789abcdef", begin.size()) == begin.size() + kDigits;
}

// Those that nobody is writing.
void remove_other_parts(const fs::path& target, const fs::path& own) {
  std::error_code ignored;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder_of(target), ignored)) {
    const std::string name = entry.path().filename().string();
    if (name == own.filename() || !is_part_of(name, target.filename().string())) continue;
    const int descriptor = ::open(entry.path().c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (descriptor < 0) continue;
    if (::flock(descriptor, LOCK_EX | LOCK_NB) == 0) ::unlink(entry.path().c_str());
    ::close(descriptor);
  }
}

bool begins_with(int descriptor, std::string_view expected) {
  std::string found(expected.size(), '\0');
  size_t done = 0;
  while (done < found.size()) {
    const ssize_t got =
        ::pread(descriptor, found.data() + done, found.size() - done, static_cast<off_t>(done));
    if (got <= 0) return false;
    done += static_cast<size_t>(got);
  }
  return found == expected;
}

}  // namespace

Expected<std::string> safetensors_header(const std::filesystem::path& path,
                                         std::span<const TensorEntry> tensors,
                                         const std::map<std::string, std::string>& metadata) {
  std::string header;
  try {
    nlohmann::ordered_json json = nlohmann::ordered_json::object();
    if (!metadata.empty()) json["__metadata__"] = metadata;
    std::set<std::string_view> names;
    uint64_t offset = 0;
    for (const TensorEntry& tensor : tensors) {
      if (tensor.name == "__metadata__" || !names.insert(tensor.name).second) {
        return make_error(ErrorCode::kInvalidArgument,
                          "{}: tensor name \"{}\" is reserved or given twice", path.string(),
                          printable(tensor.name));
      }
      const Shape& shape = tensor.view.shape;
      const uint64_t end = offset + tensor.view.size_bytes();
      // Built as a vector: an object here would cost a search per key.
      json.get_ref<nlohmann::ordered_json::object_t&>().emplace_back(
          tensor.name,
          nlohmann::ordered_json{
              {"dtype", dtype_name(tensor.view.dtype)},
              {"shape", std::vector<int64_t>(shape.dims.begin(), shape.dims.begin() + shape.rank)},
              {"data_offsets", std::vector<uint64_t>{offset, end}}});
      offset = end;
    }
    header = json.dump();
  } catch (const std::bad_alloc&) {
    throw;
  } catch (const std::exception&) {
    return make_error(ErrorCode::kInvalidArgument,
                      "{}: a tensor's name or a text of the metadata is not UTF-8", path.string());
  }
  header.resize((header.size() + 7) / 8 * 8, ' ');
  if (header.size() > kMaxHeaderBytes) {
    return make_error(ErrorCode::kInvalidArgument, "{}: header of {} bytes, at most {} allowed",
                      path.string(), header.size(), kMaxHeaderBytes);
  }
  return header;
}

tl::unexpected<Error> SafetensorsWriter::failure(int error) const {
  return make_error(ErrorCode::kIo, "{}: cannot write: {}", part_.string(), std::strerror(error));
}

Expected<SafetensorsWriter> SafetensorsWriter::begin(
    const fs::path& target, std::span<const TensorEntry> tensors,
    const std::map<std::string, std::string>& metadata, std::string_view job,
    const std::atomic<bool>* cancel) {
  INTAGLIO_ASSIGN(const std::string json, safetensors_header(target, tensors, metadata));
  const uint64_t bytes = json.size();
  std::string header(sizeof(bytes), '\0');
  std::memcpy(header.data(), &bytes, sizeof(bytes));
  header += json;

  SafetensorsWriter writer;
  writer.target_ = target;
  writer.cancel_ = cancel;
  uint64_t end = header.size();
  for (const TensorEntry& tensor : tensors) writer.ends_.push_back(end += tensor.view.size_bytes());
  const uint64_t hash =
      XXH3_64bits_withSeed(header.data(), header.size(), XXH3_64bits(job.data(), job.size()));
  writer.part_ = target;
  writer.part_ += fmt::format(".{:016x}{}", hash, kEnd);
  remove_other_parts(target, writer.part_);
  INTAGLIO_TRY(writer.open(header));
  return writer;
}

Status SafetensorsWriter::open(std::string_view header) {
  constexpr mode_t kMode = 0666;
  descriptor_ = ::open(part_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, kMode);
  if (descriptor_ < 0) return failure(errno);
  if (::flock(descriptor_, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return failure(errno);
    return make_error(ErrorCode::kIo, "{}: another process is writing it", part_.string());
  }
  struct stat status {};
  if (::fstat(descriptor_, &status) != 0) return failure(errno);
  const auto there = static_cast<uint64_t>(status.st_size);
  uint64_t kept = 0;
  if (there >= header.size() && begins_with(descriptor_, header)) {
    kept = header.size();
    while (next_ < ends_.size() && ends_[next_] <= there) kept = ends_[next_++];
  }
  if (::ftruncate(descriptor_, static_cast<off_t>(kept)) != 0 ||
      ::lseek(descriptor_, 0, SEEK_END) < 0)
    return failure(errno);
  return kept > 0 ? Status{} : write_at_end(std::as_bytes(std::span(header)));
}

SafetensorsWriter::SafetensorsWriter(SafetensorsWriter&& other) noexcept
    : target_(std::move(other.target_)),
      part_(std::move(other.part_)),
      cancel_(other.cancel_),
      descriptor_(std::exchange(other.descriptor_, -1)),
      ends_(std::move(other.ends_)),
      next_(other.next_) {}

SafetensorsWriter::~SafetensorsWriter() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

Status SafetensorsWriter::write_at_end(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    if (cancel_ != nullptr && *cancel_) return make_error(ErrorCode::kCancelled, "cancelled");
    const ssize_t put = ::write(descriptor_, bytes.data(), std::min(bytes.size(), kPieceBytes));
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return failure(errno);
    bytes = bytes.subspan(static_cast<size_t>(put));
  }
#if defined(__linux__)
  // The disk begins now, not with the flush at the end. Only a hint: errors show there.
  static_cast<void>(::sync_file_range(descriptor_, 0, 0, SYNC_FILE_RANGE_WRITE));
#endif
  return {};
}

Status SafetensorsWriter::write(std::span<const std::byte> bytes) {
  INTAGLIO_TRY(write_at_end(bytes));
  ++next_;
  return {};
}

Status SafetensorsWriter::commit() {
  if (!flush_to_disk(descriptor_)) return failure(errno);
  std::error_code error;
  fs::rename(part_, target_, error);
  if (error) {
    return make_error(ErrorCode::kIo, "{}: cannot write: {}", target_.string(), error.message());
  }
  flush_folder_of(target_);
  return {};
}

}  // namespace intaglio
