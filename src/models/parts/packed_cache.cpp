#include "models/parts/packed_cache.h"

#include <mutex>
#include <utility>
#include <vector>

#include "core/log.h"
#include "core/memory_info.h"
#include "io/packed_folder.h"

namespace intaglio {
namespace {

std::mutex settings_mutex;
PackedCacheSettings settings_now;

// Of models that are gone. Whoever wants the files to appear waits for them; at the end of a
// process that does not, they vanish.
struct LeftWriters {
  std::mutex mutex;
  std::vector<std::unique_ptr<PackedWriter>> writers;
};
LeftWriters& left_writers() {
  static auto* const left = new LeftWriters;
  return *left;
}

// A file of this key that is whole; nullptr: none.
std::shared_ptr<const PackedFile> find_file(const Context& context,
                                            const std::filesystem::path& path,
                                            const std::string& key) {
  const auto file = PackedFile::open(path);
  Status sound = file ? (*file)->check(context) : Status(tl::unexpected<Error>(file.error()));
  if (sound && (*file)->index().key != key)
    sound = make_error(ErrorCode::kBadFormat, "{}: of another key than its name", path.string());
  if (sound) {
    (*file)->touch();
    return *file;
  }
  const ErrorCode code = sound.error().code;
  if (code != ErrorCode::kNotFound && code != ErrorCode::kCancelled)
    log(LogLevel::kWarning, "{}; it is not used and written anew", sound.error().message);
  return nullptr;
}

}  // namespace

void set_packed_cache(PackedCacheSettings settings) {
  const std::lock_guard<std::mutex> lock(settings_mutex);
  settings_now = std::move(settings);
}

PackedCacheSettings packed_cache() {
  const std::lock_guard<std::mutex> lock(settings_mutex);
  return settings_now;
}

bool writes_packed_cache() {
  LeftWriters& left = left_writers();
  const std::lock_guard<std::mutex> lock(left.mutex);
  return !left.writers.empty();
}

void finish_packed_cache() {
  std::vector<std::unique_ptr<PackedWriter>> writers;
  LeftWriters& left = left_writers();
  {
    const std::lock_guard<std::mutex> lock(left.mutex);
    writers.swap(left.writers);
  }
  writers.clear();
}

PackedStore::~PackedStore() {
  if (writer_ == nullptr || !writer_->is_finished()) return;
  LeftWriters& left = left_writers();
  const std::lock_guard<std::mutex> lock(left.mutex);
  left.writers.push_back(std::move(writer_));
}

std::shared_ptr<PackedStore> PackedStore::open(const Context& context, const TensorSource& source,
                                               const PackedKey& wanted) {
  const PackedCacheSettings settings = packed_cache();
  const bool is_on = settings.limit > 0 && wanted.bytes() > 0 && wanted.bytes() >= settings.least;
  if (!is_on || stored_weights_of(source) == nullptr) return nullptr;
  const Expected<std::string> key = wanted.key();
  if (!key) {
    log(LogLevel::kDebug, "packed weights: {}", key.error().message);
    return nullptr;
  }
  auto store = std::make_shared<PackedStore>();
  store->file_ = find_file(context, packed_path(settings.folder, *key), *key);
  if (store->file_ != nullptr) return store;
  if (wanted.bytes() > settings.limit) {
    log(LogLevel::kInfo, "note: packed weights of {} are more than the {} that the cache may take",
        format_bytes(wanted.bytes()), format_bytes(settings.limit));
    return nullptr;
  }
  Status ready = check_disk(settings.folder, wanted.bytes());
  if (ready) {
    auto writer =
        PackedWriter::start(settings.folder, settings.limit,
                            {.key = *key, .about = wanted.about(), .records = {}}, settings.cancel);
    if (writer) {
      store->writer_ = std::move(*writer);
      return store;
    }
    ready = tl::unexpected<Error>(writer.error());
  }
  log(LogLevel::kWarning, "packed weights are not kept: {}", ready.error().message);
  return nullptr;
}

const PackedRecord* PackedStore::find(const std::string& name) const {
  return file_ == nullptr ? nullptr : file_->find(name);
}

}  // namespace intaglio
