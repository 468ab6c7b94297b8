#include "ops/cuda/tuning/tuning_cache.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <thread>

#include "core/files.h"
#include "io/json_config.h"
#include "ops/cuda/tuning/s8_gemm_heuristic.h"

namespace intaglio::cuda {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxFileBytes = size_t{32} << 20;
constexpr auto kLockPatience = std::chrono::seconds(10);
constexpr auto kLockPause = std::chrono::milliseconds(5);

// Holds the lock file of a table. The lock file stays: removing it would let two processes hold
// "the" lock.
class TableLock {
 public:
  static Expected<TableLock> take(const fs::path& table) {
    const fs::path path = table.string() + ".lock";
    const int descriptor = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (descriptor < 0) {
      return make_error(ErrorCode::kIo, "{}: cannot write: {}", path.string(),
                        std::strerror(errno));
    }
    TableLock lock(descriptor);
    const auto deadline = std::chrono::steady_clock::now() + kLockPatience;
    while (::flock(descriptor, LOCK_EX | LOCK_NB) != 0) {
      if (errno != EWOULDBLOCK && errno != EINTR) {
        return make_error(ErrorCode::kIo, "{}: cannot lock: {}", path.string(),
                          std::strerror(errno));
      }
      if (std::chrono::steady_clock::now() > deadline) {
        return make_error(ErrorCode::kIo, "{}: another process holds the lock for more than {} s",
                          path.string(), kLockPatience.count());
      }
      std::this_thread::sleep_for(kLockPause);
    }
    return lock;
  }
  TableLock(TableLock&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
  TableLock& operator=(TableLock&&) = delete;
  ~TableLock() {
    if (descriptor_ >= 0) ::close(descriptor_);  // closing gives the lock back
  }

 private:
  explicit TableLock(int descriptor) : descriptor_(descriptor) {}
  int descriptor_;
};

// FNV-1a: cards whose names differ only in characters that file names cannot hold.
uint32_t name_hash(std::string_view text) {
  uint32_t hash = 2166136261u;
  for (const char c : text) hash = (hash ^ static_cast<uint8_t>(c)) * 16777619u;
  return hash;
}

enum class FileState { kMissing, kGood, kUnusable };

// Reads the table of `key`. What is wrong goes to `notes`.
FileState read_table(const fs::path& path, const TuningKey& key, TuningTable& table,
                     std::vector<std::string>& notes) {
  const Expected<std::string> text = read_file(path, kMaxFileBytes);
  if (!text) {
    if (text.error().code == ErrorCode::kNotFound) return FileState::kMissing;
    notes.push_back("ignored: " + text.error().message);
    return FileState::kUnusable;
  }
  Expected<ParsedTuningTable> parsed = parse_tuning_table(*text, path.string());
  if (!parsed) {
    notes.push_back("ignored: " + parsed.error().message);
    return FileState::kUnusable;
  }
  if (parsed->table.key != key) {
    notes.push_back(fmt::format("ignored: {}: is of {}; expected {}", path.string(),
                                describe(parsed->table.key), describe(key)));
    return FileState::kUnusable;
  }
  for (const std::string& skipped : parsed->skipped) notes.push_back("ignored: " + skipped);
  table = std::move(parsed->table);
  return FileState::kGood;
}

TuningTable shipped_table(const TuningKey& key, std::span<const EmbeddedFile> data,
                          std::vector<std::string>& notes) {
  TuningTable all;
  all.key = key;
  for (const EmbeddedFile& file : data) {
    if (!file.name.starts_with("shipped_")) continue;
    const Expected<ParsedTuningTable> parsed =
        parse_tuning_table(file.text, std::string(file.name));
    if (!parsed) {
      notes.push_back("ignored: " + parsed.error().message);
    } else if (same_card(parsed->table.key, key)) {
      all.merge(parsed->table);
    }
  }
  return all;
}

const TileConfig* config_of(std::span<const TileConfig> configs, const S8GemmChoice& choice) {
  const auto found = std::find_if(configs.begin(), configs.end(), [&](const TileConfig& config) {
    return config.family == choice.family && config.name == choice.config;
  });
  return found == configs.end() ? nullptr : &*found;
}

}  // namespace

Expected<fs::path> tuning_folder() { return cache_folder("tuning", "tuning results"); }

std::string tuning_file_name(const TuningKey& key) {
  std::string card;
  for (const char c : key.card.substr(0, 60)) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
    const bool capital = c >= 'A' && c <= 'Z';
    card += letter ? c : capital ? static_cast<char>(c - 'A' + 'a') : '_';
  }
  return fmt::format("{}-{:08x}-sm{}-d{}-k{}.v{}.json", card, name_hash(key.card),
                     key.compute_capability, key.driver_version, key.kernel_version,
                     kTuningFormatVersion);
}

const char* choice_source_name(ChoiceSource source) {
  switch (source) {
    case ChoiceSource::kUserCache:
      return "user cache";
    case ChoiceSource::kShippedTable:
      return "shipped table";
    case ChoiceSource::kHeuristic:
      return "heuristic";
  }
  return "unknown";
}

TuningCache TuningCache::open(const TuningKey& key, const Expected<fs::path>& folder,
                              std::span<const EmbeddedFile> data) {
  TuningCache cache;
  cache.key_ = key;
  cache.shipped_ = shipped_table(key, data, cache.notes_);
  cache.user_.key = key;
  cache.file_ = folder.map([&](const fs::path& path) { return path / tuning_file_name(key); });
  if (cache.file_) read_table(*cache.file_, key, cache.user_, cache.notes_);
  return cache;
}

FoundChoice TuningCache::choose(const CudaDevice& device, const S8GemmShape& shape,
                                std::span<const TileConfig> configs) const {
  const auto usable = [&](const TuningTable& table) -> const TuningEntry* {
    const TuningEntry* entry = table.find(shape);
    const TileConfig* config = entry == nullptr ? nullptr : config_of(configs, entry->choice);
    return config != nullptr && refuse_tile(device, shape, *config) == nullptr ? entry : nullptr;
  };
  if (const TuningEntry* entry = usable(user_)) return {entry->choice, ChoiceSource::kUserCache};
  if (const TuningEntry* entry = usable(shipped_))
    return {entry->choice, ChoiceSource::kShippedTable};
  return {heuristic_s8_gemm(device, shape, configs), ChoiceSource::kHeuristic};
}

Status TuningCache::save(std::span<const TuningEntry> entries) {
  TuningTable own;
  own.key = key_;
  for (const TuningEntry& entry : entries) own.set(entry);
  user_.merge(own);
  INTAGLIO_ASSIGN(const fs::path file, file_);
  std::error_code error;
  fs::create_directories(file.parent_path(), error);
  if (error) {
    return make_error(ErrorCode::kIo, "{}: cannot make the folder: {}", file.parent_path().string(),
                      error.message());
  }
  INTAGLIO_ASSIGN(const TableLock lock, TableLock::take(file));
  TuningTable current;
  current.key = key_;
  if (read_table(file, key_, current, notes_) == FileState::kUnusable) {
    // Somebody may want to look at it; it is in the way either way.
    const fs::path aside = file.string() + ".bad";
    fs::rename(file, aside, error);
    notes_.push_back(fmt::format("moved to {}", aside.string()));
  }
  current.merge(own);
  INTAGLIO_TRY(write_file_atomic(file, tuning_table_text(current)));
  user_ = std::move(current);
  return {};
}

TuningFiles list_tuning_files(const fs::path& folder) {
  TuningFiles files;
  std::error_code error;
  std::vector<fs::path> paths;
  fs::directory_iterator end;
  for (fs::directory_iterator it(folder, error); !error && it != end; it.increment(error)) {
    if (it->path().extension() == ".json") paths.push_back(it->path());
  }
  std::sort(paths.begin(), paths.end());
  for (const fs::path& path : paths) {
    const Expected<std::string> text = read_file(path, kMaxFileBytes);
    if (!text) {
      files.notes.push_back("ignored: " + text.error().message);
      continue;
    }
    Expected<ParsedTuningTable> parsed = parse_tuning_table(*text, path.string());
    if (!parsed) {
      files.notes.push_back("ignored: " + parsed.error().message);
      continue;
    }
    for (const std::string& skipped : parsed->skipped) files.notes.push_back("ignored: " + skipped);
    files.tables.emplace_back(path, std::move(parsed->table));
  }
  return files;
}

Expected<TuningTable> read_exported_table(const fs::path& path) {
  INTAGLIO_ASSIGN(const std::string text, read_file(path, kMaxFileBytes));
  INTAGLIO_ASSIGN(ParsedTuningTable parsed, parse_tuning_table(text, path.string()));
  if (!parsed.skipped.empty()) {
    return make_error(ErrorCode::kBadFormat, "{}", parsed.skipped.front());
  }
  if (parsed.table.key.kernel_version != kS8GemmKernelVersion) {
    return make_error(ErrorCode::kUnsupported,
                      "{}: kernel_version: measured with kernels {}; this build has {}",
                      path.string(), parsed.table.key.kernel_version, kS8GemmKernelVersion);
  }
  return std::move(parsed.table);
}

}  // namespace intaglio::cuda
