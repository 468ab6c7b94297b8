#include "server/picture_store.h"

#include <fmt/format.h>

#include <chrono>
#include <cstring>
#include <thread>

#include "core/atomic_file.h"
#include "core/files.h"
#include "server/job_id.h"
#include "server/redis_jobs.h"
#include "server/s3_store.h"

namespace intaglio::server {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kBucket = "s3://";
constexpr int kLooks = 20;  // for the mark of another, which network folders show late
constexpr std::chrono::milliseconds kLook{100};

class FolderStore final : public PictureStore {
 public:
  explicit FolderStore(fs::path folder) : folder_(std::move(folder)) {}

  std::string place() const override { return folder_.string(); }
  Status put(const std::string& name, std::string_view bytes) override {
    const fs::path file = folder_ / name;
    std::error_code error;
    if (fs::create_directory(file.parent_path(), error)) flush_folder_of(file.parent_path());
    if (error)
      return make_error(ErrorCode::kIo, "{}: cannot make the folder: {}",
                        file.parent_path().string(), error.message());
    return write_file_atomic(file, bytes);
  }
  Expected<bool> has(const std::string& name) override {
    std::error_code error;
    return fs::is_regular_file(folder_ / name, error);
  }
  Expected<fs::path> file(const std::string& name) override {
    std::error_code ignored;
    if (!fs::is_regular_file(folder_ / name, ignored))
      return make_error(ErrorCode::kNotFound, "{}: it is not there", (folder_ / name).string());
    return folder_ / name;
  }
  Status remove(const std::vector<std::string>& names) override {
    std::error_code ignored;
    for (const std::string& name : names) {
      const fs::path file = folder_ / name;
      fs::remove(file, ignored);
      if (file.parent_path() != folder_) fs::remove(file.parent_path(), ignored);  // once empty
    }
    return {};
  }

 private:
  const fs::path folder_;
};

std::string mark_name(const std::string& mark) { return "queue-" + mark; }

}  // namespace

Expected<std::unique_ptr<PictureStore>> PictureStore::open(std::string_view flag,
                                                           const std::string& place,
                                                           const fs::path& cache) {
  if (place.starts_with(kBucket))
    return open_s3_store(flag, std::string_view(place).substr(kBucket.size()), cache);
  std::error_code error;
  fs::create_directories(place, error);
  if (error)
    return make_error(ErrorCode::kIo, "{}: {}: cannot make the folder: {}", flag, place,
                      error.message());
  return std::make_unique<FolderStore>(place);
}

std::string picture_name(const std::string& id, int64_t index, int64_t fence) {
  return fmt::format("{}/{}.{}.png", id, index, fence);
}

Status join_results(std::string_view flag, PictureStore& store, const RedisJobs& jobs) {
  const auto named = [&](const Error& error) {
    return make_error(error.code, "{}: {}", flag, OwnLines{error.message});
  };
  INTAGLIO_ASSIGN(const std::string own, next_job_id("", 0));
  const Status put = store.put(mark_name(own), own);
  if (!put) return named(put.error());
  INTAGLIO_ASSIGN(const std::string mark, jobs.offer_mark(own));
  if (mark == own) return {};
  if (const Status removed = store.remove({mark_name(own)}); !removed)
    return named(removed.error());
  for (int i = 0; i < kLooks; ++i) {
    const Expected<bool> there = store.has(mark_name(mark));
    if (!there) return named(there.error());
    if (*there) return {};
    std::this_thread::sleep_for(kLook);
  }
  return make_error(ErrorCode::kInvalidArgument,
                    "{}: {} is not the place that the other servers and workers of this queue use "
                    "(it has no file {}); give all of them the same folder, shared, or the same "
                    "bucket",
                    flag, store.place(), mark_name(mark));
}

}  // namespace intaglio::server
