// Whether a job can be taken.
#pragma once

#include "server/drawer.h"
#include "server/job_service.h"

namespace intaglio::server {

// The request with every choice made, the seed too, as it is kept; a Refusal for what is beyond the
// limits or cannot be drawn.
Accepted<JobRequest> checked_request(const JobRequest& request, const JobLimits& limits,
                                     const Drawer& drawer);

}  // namespace intaglio::server
