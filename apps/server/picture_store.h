// Where workers put pictures and servers find them: a folder that all of them see, or a bucket.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"

namespace intaglio::server {

class RedisJobs;

// For any thread. Names are relative, of letters, digits, '.', '-' and at most one '/'.
class PictureStore {
 public:
  // `place`: a folder, or "s3://BUCKET[/PREFIX]". `cache`: a folder for local copies of the
  // latter's. kInvalidArgument and kIo begin with `flag`.
  static Expected<std::unique_ptr<PictureStore>> open(std::string_view flag,
                                                      const std::string& place,
                                                      const std::filesystem::path& cache);
  virtual ~PictureStore() = default;

  virtual std::string place() const = 0;  // in words
  // Appears whole.
  virtual Status put(const std::string& name, std::string_view bytes) = 0;
  virtual Expected<bool> has(const std::string& name) = 0;
  // On this machine; kNotFound: there is none.
  virtual Expected<std::filesystem::path> file(const std::string& name) = 0;
  // Those that are not there are no error.
  virtual Status remove(const std::vector<std::string>& names) = 0;
};

// Picture `index` as drawn by whom took the job as number `fence`: two that draw the same job never
// write the same file.
std::string picture_name(const std::string& id, int64_t index, int64_t fence);

// Whether it takes files, and is the same place for all of the queue: the first puts a mark there
// that the others look for. kInvalidArgument begins with `flag`.
Status join_results(std::string_view flag, PictureStore& store, const RedisJobs& jobs);

}  // namespace intaglio::server
