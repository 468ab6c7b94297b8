#include "io/packed_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "core/aligned_buffer.h"
#include "io/content_hash.h"

namespace intaglio {
namespace {

constexpr std::string_view kMagic = "intgpack";
constexpr uint64_t kTrailerBytes = 64, kTrailerHashed = 48;
constexpr uint64_t kMostIndexBytes = uint64_t{64} << 20;
constexpr size_t kWriteBytes = size_t{8} << 20;  // between two looks at the flag that stops it

// Numbers and texts one after the other.
class Reader {
 public:
  explicit Reader(std::span<const std::byte> bytes) : bytes_(bytes) {}
  bool failed() const { return failed_; }
  bool at_end() const { return bytes_.empty(); }

  template <typename T>
  T number() {
    T value{};
    if (bytes_.size() < sizeof(T)) {
      failed_ = true;
      return value;
    }
    std::memcpy(&value, bytes_.data(), sizeof(T));
    bytes_ = bytes_.subspan(sizeof(T));
    return value;
  }
  std::string text() {
    const auto size = number<uint32_t>();
    if (failed_ || size > bytes_.size()) {
      failed_ = true;
      return {};
    }
    std::string value(reinterpret_cast<const char*>(bytes_.data()), size);
    bytes_ = bytes_.subspan(size);
    return value;
  }

 private:
  std::span<const std::byte> bytes_;
  bool failed_ = false;
};

class Writer {
 public:
  template <typename T>
  void number(T value) {
    const auto* const begin = reinterpret_cast<const std::byte*>(&value);
    bytes_.insert(bytes_.end(), begin, begin + sizeof(T));
  }
  void text(std::string_view value) {
    number(static_cast<uint32_t>(value.size()));
    const auto* const begin = reinterpret_cast<const std::byte*>(value.data());
    bytes_.insert(bytes_.end(), begin, begin + value.size());
  }
  std::vector<std::byte>& bytes() { return bytes_; }

 private:
  std::vector<std::byte> bytes_;
};

std::vector<std::byte> index_bytes(const PackedIndex& index) {
  Writer out;
  out.text(index.key);
  out.number(static_cast<uint32_t>(index.about.size()));
  for (const auto& [name, value] : index.about) {
    out.text(name);
    out.text(value);
  }
  out.number(static_cast<uint32_t>(index.records.size()));
  for (const PackedRecord& record : index.records) {
    out.text(record.name);
    out.text(record.attributes);
    for (const PackedRun& run : record.runs) {
      out.number(run.at);
      out.number(run.bytes);
      out.number(run.hash);
    }
  }
  return std::move(out.bytes());
}

struct Trailer {
  uint64_t index_at = 0, index_bytes = 0, index_hash = 0;
};

Expected<Trailer> parse_trailer(std::span<const std::byte> bytes, const std::string& name) {
  const auto wrong = [&](std::string_view what) {
    return make_error(ErrorCode::kBadFormat, "{}: {}", name, what);
  };
  if (bytes.size() < kTrailerBytes) return wrong("too short for packed weights");
  const std::span<const std::byte> trailer = bytes.last(kTrailerBytes);
  if (std::memcmp(trailer.data(), kMagic.data(), kMagic.size()) != 0)
    return wrong("no packed weights, or cut off");
  Reader in(trailer.subspan(kMagic.size()));
  const auto version = in.number<uint32_t>();
  if (version != kPackedVersion)
    return make_error(ErrorCode::kBadFormat, "{}: packed weights of version {}, expected {}", name,
                      version, kPackedVersion);
  in.number<uint32_t>();
  Trailer found;
  found.index_at = in.number<uint64_t>();
  found.index_bytes = in.number<uint64_t>();
  const auto file_bytes = in.number<uint64_t>();
  found.index_hash = in.number<uint64_t>();
  if (in.number<uint64_t>() != hash64(trailer.first(kTrailerHashed)))
    return wrong("the trailer is damaged");
  const uint64_t before = bytes.size() - kTrailerBytes;
  if (file_bytes != bytes.size() || found.index_at > before ||
      found.index_bytes > kMostIndexBytes || found.index_bytes != before - found.index_at)
    return wrong("not of the size that its trailer says");
  return found;
}

}  // namespace

std::vector<std::byte> packed_trailer(std::span<const std::byte> index, uint64_t index_at) {
  Writer out;
  for (const char c : kMagic) out.number(c);
  out.number(kPackedVersion);
  out.number(uint32_t{0});
  out.number(index_at);
  out.number(static_cast<uint64_t>(index.size()));
  out.number(index_at + index.size() + kTrailerBytes);
  out.number(hash64(index));
  out.number(hash64(out.bytes()));
  out.number(uint64_t{0});
  return std::move(out.bytes());
}

Expected<PackedIndex> parse_packed(std::span<const std::byte> bytes, const std::string& name) {
  const auto wrong = [&](std::string_view what) {
    return make_error(ErrorCode::kBadFormat, "{}: {}", name, what);
  };
  INTAGLIO_ASSIGN(const Trailer trailer, parse_trailer(bytes, name));
  const std::span<const std::byte> text = bytes.subspan(trailer.index_at, trailer.index_bytes);
  if (hash64(text) != trailer.index_hash) return wrong("the index is damaged");
  Reader in(text);
  PackedIndex index;
  index.key = in.text();
  for (auto count = in.number<uint32_t>(); count > 0 && !in.failed(); --count) {
    std::string what = in.text();
    index.about[std::move(what)] = in.text();
  }
  for (auto count = in.number<uint32_t>(); count > 0 && !in.failed(); --count) {
    PackedRecord record;
    record.name = in.text();
    record.attributes = in.text();
    for (PackedRun& run : record.runs) {
      run.at = in.number<uint64_t>();
      run.bytes = in.number<uint64_t>();
      run.hash = in.number<uint64_t>();
      if (run.at % kPackedAlignment != 0 || run.at > trailer.index_at ||
          run.bytes > trailer.index_at - run.at)
        return wrong("a record lies outside the file");
    }
    index.records.push_back(std::move(record));
  }
  if (in.failed() || !in.at_end()) return wrong("the index is cut off");
  return index;
}

Expected<std::shared_ptr<const PackedFile>> PackedFile::open(const std::filesystem::path& path) {
  const auto failure = [&](std::string_view reason) {
    return make_error(ErrorCode::kIo, "{}: cannot read: {}", path.string(), reason);
  };
  const std::shared_ptr<PackedFile> file(new PackedFile(path));
  file->descriptor_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (file->descriptor_ < 0) {
    if (errno == ENOENT) return make_error(ErrorCode::kNotFound, "{}: not there", path.string());
    return failure(std::strerror(errno));
  }
  struct stat status {};
  if (::fstat(file->descriptor_, &status) != 0) return failure(std::strerror(errno));
  if (!S_ISREG(status.st_mode) || status.st_uid != ::geteuid())
    return make_error(ErrorCode::kBadFormat, "{}: not a file of this user", path.string());
  // Whoever is about to remove it holds the other lock for a moment; the mapping stays whole.
  while (::flock(file->descriptor_, LOCK_SH) != 0)
    if (errno != EINTR) return failure(std::strerror(errno));
  file->size_ = static_cast<uint64_t>(status.st_size);
  if (file->size_ < kTrailerBytes)
    return make_error(ErrorCode::kBadFormat, "{}: too short for packed weights", path.string());
  void* const data = ::mmap(nullptr, file->size_, PROT_READ, MAP_SHARED, file->descriptor_, 0);
  if (data == MAP_FAILED) return failure(std::strerror(errno));
  file->data_ = data;
  INTAGLIO_ASSIGN(file->index_,
                  parse_packed({static_cast<const std::byte*>(data), file->size_}, path.string()));
  for (const PackedRecord& record : file->index_.records) file->records_[record.name] = &record;
  return file;
}

PackedFile::~PackedFile() {
  if (data_ != nullptr) ::munmap(data_, size_);
  if (descriptor_ >= 0) ::close(descriptor_);
}

const PackedRecord* PackedFile::find(std::string_view name) const {
  const auto found = records_.find(name);
  return found == records_.end() ? nullptr : found->second;
}

Status PackedFile::check(const Context& context) const {
  static_cast<void>(::madvise(data_, size_, MADV_WILLNEED));
  for (const PackedRecord& record : index_.records) {
    for (const PackedRun& run : record.runs) {
      INTAGLIO_ASSIGN(const uint64_t hash, hash_pieces(context, bytes(run)));
      if (run.bytes > 0 && hash != run.hash)
        return make_error(ErrorCode::kBadFormat, "{}: the bytes of {} are damaged", path_.string(),
                          record.name);
    }
  }
  return {};
}

void PackedFile::touch() const { static_cast<void>(::futimens(descriptor_, nullptr)); }

// ---- PackedFileWriter

Expected<PackedFileWriter> PackedFileWriter::create(const std::filesystem::path& path,
                                                    PackedIndex head,
                                                    const std::atomic<bool>* stop) {
  INTAGLIO_ASSIGN(AtomicFile file, AtomicFile::create(path));
  return PackedFileWriter(std::move(file), std::move(head), stop);
}

Status PackedFileWriter::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    if (stop_ != nullptr && *stop_) return make_error(ErrorCode::kCancelled, "stopped on request");
    const std::span<const std::byte> piece = bytes.first(std::min(bytes.size(), kWriteBytes));
    INTAGLIO_TRY(file_.write(piece));
    at_ += piece.size();
    bytes = bytes.subspan(piece.size());
  }
  return {};
}

Status PackedFileWriter::pad() {
  constexpr std::array<std::byte, kPackedAlignment> kZeros{};
  return write(std::span(kZeros).first(align_up(at_, kPackedAlignment) - at_));
}

Status PackedFileWriter::add(std::string name, std::string attributes,
                             const std::array<std::span<const std::byte>, kPackedParts>& parts) {
  PackedRecord record{.name = std::move(name), .attributes = std::move(attributes)};
  for (size_t i = 0; i < parts.size(); ++i) {
    INTAGLIO_TRY(pad());
    INTAGLIO_ASSIGN(const uint64_t hash, hash_pieces(Context{.threads = 1}, parts[i]));
    record.runs[i] = {at_, parts[i].size(), hash};
    INTAGLIO_TRY(write(parts[i]));
  }
  index_.records.push_back(std::move(record));
  return {};
}

Status PackedFileWriter::commit() {
  INTAGLIO_TRY(pad());
  const uint64_t index_at = at_;
  const std::vector<std::byte> index = index_bytes(index_);
  INTAGLIO_TRY(write(index));
  INTAGLIO_TRY(write(packed_trailer(index, index_at)));
  return file_.commit();
}

}  // namespace intaglio
