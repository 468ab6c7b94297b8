// A file of prepared weights: runs of bytes, mapped and used in place, and an index of them behind.
//
//   bytes of the records, each run aligned to 64 bytes
//   index     key, what people want to know, and of each record name, attributes, runs and hashes
//   trailer   64 bytes: "intgpack", version, where the index lies, the file's size, hashes of both
//
// All numbers are little-endian. The file comes from a cache that others may write to as well: what
// is read is checked against the file's size, and runs against their hashes. Once it has its name
// it is never written to, only removed, which leaves a mapping whole.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/atomic_file.h"
#include "core/context.h"
#include "core/status.h"

namespace intaglio {

inline constexpr uint32_t kPackedVersion = 1;
inline constexpr uint64_t kPackedAlignment = 64;

struct PackedRun {
  uint64_t at = 0, bytes = 0;  // from the file's begin; no bytes: there are none
  uint64_t hash = 0;           // hash_pieces (io/content_hash.h)
};

// Of a linear.
enum PackedPart : size_t { kPackedRows, kPackedScales, kPackedBias, kPackedSmooth, kPackedParts };

struct PackedRecord {
  std::string name, attributes;
  std::array<PackedRun, kPackedParts> runs{};
};

struct PackedIndex {
  std::string key;
  std::map<std::string, std::string> about;
  std::vector<PackedRecord> records;
};

// The index of a whole file in memory. kBadFormat naming `name`; whatever it says of places lies
// within `bytes`.
Expected<PackedIndex> parse_packed(std::span<const std::byte> bytes, const std::string& name);

// What stands behind an index of these bytes that begins at `index_at`.
std::vector<std::byte> packed_trailer(std::span<const std::byte> index, uint64_t index_at);

class PackedFile {
 public:
  // Maps it, and marks it as in use for as long as the object lives. kNotFound; kBadFormat for a
  // damaged file or another user's; kIo.
  static Expected<std::shared_ptr<const PackedFile>> open(const std::filesystem::path& path);
  ~PackedFile();
  PackedFile(const PackedFile&) = delete;
  PackedFile& operator=(const PackedFile&) = delete;

  const PackedIndex& index() const { return index_; }
  uint64_t size() const { return size_; }
  const PackedRecord* find(std::string_view name) const;  // nullptr if absent
  std::span<const std::byte> bytes(const PackedRun& run) const {
    return {static_cast<const std::byte*>(data_) + run.at, run.bytes};
  }
  // Reads everything, by all threads: kBadFormat unless all runs have their hashes.
  Status check(const Context& context) const;
  // Its time of last use becomes now.
  void touch() const;

 private:
  explicit PackedFile(std::filesystem::path path) : path_(std::move(path)) {}
  std::filesystem::path path_;
  int descriptor_ = -1;
  void* data_ = nullptr;
  uint64_t size_ = 0;
  PackedIndex index_;
  std::map<std::string_view, const PackedRecord*> records_;  // by name
};

class PackedFileWriter {
 public:
  // `stop` may be null; once it is set, writing returns kCancelled soon.
  static Expected<PackedFileWriter> create(const std::filesystem::path& path, PackedIndex head,
                                           const std::atomic<bool>* stop = nullptr);
  // Host memory.
  Status add(std::string name, std::string attributes,
             const std::array<std::span<const std::byte>, kPackedParts>& parts);
  uint64_t bytes() const { return at_; }
  // The file appears whole. Call once.
  Status commit();

 private:
  PackedFileWriter(AtomicFile file, PackedIndex head, const std::atomic<bool>* stop)
      : file_(std::move(file)), index_(std::move(head)), stop_(stop) {}
  Status write(std::span<const std::byte> bytes);
  Status pad();

  AtomicFile file_;
  PackedIndex index_;
  const std::atomic<bool>* stop_;
  uint64_t at_ = 0;
};

}  // namespace intaglio
