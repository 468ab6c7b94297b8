// Jobs as JSON, and requests out of it: one form for every route, the events and the database.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "server/job.h"
#include "server/job_service.h"

namespace intaglio::server {

using Json = nlohmann::ordered_json;

// Of a body or a part of one; discarded where it is no JSON, has a NUL, is nested deeper than any
// request (copies and texts of deep JSON would take the whole stack), or has more than 1 MiB beside
// its strings.
Json parse_request_json(std::string_view text);
// "2026-11-29T14:00:00.123Z"; null where `seconds` (since 1970, UTC) is 0.
Json time_json(double seconds);
Json request_json(const JobRequest& request);
Json progress_json(const Job& job);  // with its "id", as events have it
Json picture_json(const Job& job, const JobPicture& picture);
Json job_json(const Job& job);
// One line. What is no UTF-8 becomes U+FFFD.
std::string json_text(const Json& json);
// Of something that was expected to be else: its value, or what it is.
std::string shown_json(const Json& value);

// The body of POST /api/jobs: an object with "prompt" and what else request_json says, or "size":
// "512x512" for width and height, or a picture in base64 for init_image and mask; null and -1 as the seed: a random one. kInvalid names the field:
// one that is unknown or there twice, of another type or out of its range. The server's limits and
// what the model says of it are submit()'s matter.
// `sent`: pictures that came beside the body, which does not have the same ones.
Accepted<JobRequest> parse_job_request(std::string_view body,
                                       const std::shared_ptr<const SentPictures>& sent = nullptr);

// A request that is complete as it is kept, and back.
std::string stored_request_text(const JobRequest& request);
Accepted<JobRequest> read_stored_request(std::string_view text);

// The same of a server of another version.
struct ForeignRequest {
  JobRequest request = {};          // what is understood of it
  std::string not_understood = {};  // why that is not all; empty: it is
};
Accepted<ForeignRequest> read_foreign_request(std::string_view text);

}  // namespace intaglio::server
