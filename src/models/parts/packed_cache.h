// Prepared weights kept on disk, so that the next start of the same model at the same precision on
// the same kind of device maps them instead of converting them again.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "core/context.h"
#include "io/packed_file.h"
#include "models/parts/packed_key.h"
#include "models/parts/packed_writer.h"
#include "ops/linear.h"

namespace intaglio {

inline constexpr uint64_t kDefaultPackedLimit = uint64_t{64} << 30;
// What takes less than a second to convert is not worth a file.
inline constexpr uint64_t kDefaultPackedLeast = uint64_t{512} << 20;

// Of this process. Off until somebody sets a limit.
struct PackedCacheSettings {
  std::filesystem::path folder = {};
  uint64_t limit = 0;  // bytes of all files in it; 0: off
  uint64_t least = 0;  // bytes of packed weights that a transformer must have
  const std::atomic<bool>* cancel = nullptr;  // stops writing; outlives the process's models
};
void set_packed_cache(PackedCacheSettings settings);
PackedCacheSettings packed_cache();

// Files that are still being written for models that are gone: whether there are any, and the wait
// for them.
bool writes_packed_cache();
void finish_packed_cache();

// One load of one transformer: its file of the cache, or the one that is being written.
class PackedStore {
 public:
  // Neither, where the cache is off, the weights come from no file, or a file would be too large or
  // is not worth it. Damaged files are told of in a warning and written anew.
  static std::shared_ptr<PackedStore> open(const Context& context, const TensorSource& source,
                                           const PackedKey& key);
  PackedStore() = default;
  // A file that is finished goes on being written, until finish_packed_cache; any other is given
  // up.
  ~PackedStore();
  PackedStore(const PackedStore&) = delete;
  PackedStore& operator=(const PackedStore&) = delete;

  // nullptr: the file has none, or there is no file.
  const PackedRecord* find(const std::string& name) const;
  std::span<const std::byte> bytes(const PackedRun& run) const { return file_->bytes(run); }
  // nullptr: nothing is written.
  PackedWriter* writer() const { return writer_.get(); }

 private:
  std::shared_ptr<const PackedFile> file_;
  std::unique_ptr<PackedWriter> writer_;
};

}  // namespace intaglio
