// What keys and messages of the queue in Redis hold, as text.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "server/job_json.h"
#include "server/redis_jobs.h"

namespace intaglio::server {

// An object of a job's hash, all of it strings, and its "id". kBadFormat: it is no job.
Expected<RedisJob> read_redis_job(std::string_view text);

// A picture of a hash: what JobPicture has, and the fence of whom drew it.
std::string picture_text(const JobPicture& picture, int64_t fence);
std::string drawn_text(const Drawn& drawn);

// Messages: an object; behind that of a preview a newline and the PNG.
std::string progress_message(const Job& job, int64_t fence);
std::string preview_message(const Job& job, int64_t fence, const std::string& png);
std::optional<RedisEvent> read_redis_event(std::string_view message);

std::string worker_text(const WorkerState& worker);
std::optional<WorkerState> read_worker(std::string_view text);

}  // namespace intaglio::server
