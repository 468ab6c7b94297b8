// The folder of a server: its database of jobs and their pictures.
//
//   lock                      held by the process that works on the folder
//   jobs.sqlite (-wal, -shm)  every job that was accepted and is not forgotten
//   pictures/ID/INDEX.png     appears whole, before the database knows of it
//   inputs/HASH.png           what requests bring along; so does it, and goes with its last job
//
// What a call has returned from has reached the disk: the log of the database is flushed at each
// commit (WAL, synchronous = FULL), so are a picture and its folder.
#pragma once

#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/status.h"
#include "server/input_pictures.h"
#include "server/job.h"
#include "server/job_service.h"

namespace intaglio::server {

struct StoredJob {
  Job job;           // without position and progress
  int attempts = 0;  // times that it was started and did not come to an end
};

// For any thread: one mutex of its own, held during each call. Errors: kIo with the reason.
class JobStore {
 public:
  // Makes the folder, brings an older database up to date, removes pictures that no job has. kIo
  // where another process holds the folder; kUnsupported for a database of a newer program.
  static Expected<std::unique_ptr<JobStore>> open(const std::filesystem::path& folder);
  ~JobStore();

  // Whether it takes anything.
  Status probe();
  Status add(const StoredJob& stored, std::span<const InputPicture> inputs = {});
  // State, times, attempts and error of a job that is there.
  Status update(const StoredJob& stored);
  // Writes the file, then what the database says of it. The picture's `bytes` are set.
  Status add_picture(const std::string& id, JobPicture& picture, std::span<const uint8_t> png);
  // Row by row with all its pictures; files later. Those that are not there are no error.
  Status remove(std::span<const std::string> ids);

  Expected<std::optional<Job>> get(const std::string& id) const;
  Expected<std::vector<Job>> list(const JobQuery& query) const;
  // Queued and running ones, the oldest first.
  Expected<std::vector<StoredJob>> unfinished() const;
  // The greatest there is; empty: none.
  Expected<std::string> last_id() const;
  // Ended jobs to forget: those that ended before `before`, and the oldest beyond `bytes` (0: no
  // bound) of pictures, those that requests bring along with each of their jobs; at most `limit`,
  // the oldest first.
  Expected<std::vector<std::string>> expired(double before, uint64_t bytes, int64_t limit) const;

  // Whether or not it is there.
  std::filesystem::path picture_file(const std::string& id, int64_t index) const;
  std::filesystem::path input_file(const std::string& input) const;

 private:
  struct State;
  explicit JobStore(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace intaglio::server
