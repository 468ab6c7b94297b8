// How far a job that is drawn has come.
#pragma once

#include <cstdint>

#include "core/status.h"
#include "pipeline/pipeline.h"
#include "server/job.h"

namespace intaglio::server {

// Of one job, from its start on.
class ProgressMeter {
 public:
  // Sets job.progress, at `now` seconds of a clock that only goes on.
  void update(Job& job, int64_t picture, const PictureProgress& progress, double now);

 private:
  double since_ = 0, from_ = 0;  // when the first step began, and the fraction then
};

JobError job_error(const Error& error);

}  // namespace intaglio::server
