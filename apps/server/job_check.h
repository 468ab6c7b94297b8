// Whether a job can be taken.
#pragma once

#include "server/drawer.h"
#include "server/input_pictures.h"
#include "server/job_service.h"

namespace intaglio::server {

struct CheckedRequest {
  JobRequest request;                // with every choice made, the seed too, as it is kept
  std::vector<InputPicture> inputs;  // that it names by their ids
};

// A Refusal for what is beyond the limits or cannot be drawn. `kept`: pictures of earlier requests.
Accepted<CheckedRequest> checked_request(const JobRequest& request, const JobLimits& limits,
                                         const Drawer& drawer, const InputFile& kept);

}  // namespace intaglio::server
