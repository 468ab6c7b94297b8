// What has happened, in numbers.
#pragma once

#include <string>

#include "server/drawer.h"
#include "server/job_service.h"

namespace intaglio::server {

class ServiceCounters {
 public:
  void waited(double seconds);
  // `ran`: seconds since it was started; negative: it never was.
  void ended(JobState state, double ran);
  void drew(const std::string& model, const std::string& precision, const DrawnPicture& picture,
            double seconds);
  void failed(const std::string& model, const std::string& precision, bool cancelled);

  // Measured, of jobs that were drawn to their end lately; a guess before the first.
  double seconds_per_job() const;
  const ServiceStats& stats() const { return stats_; }

 private:
  ServiceStats stats_;
  double seconds_per_job_ = 0;
};

// Of this process now; 0: unknown.
uint64_t resident_bytes();

}  // namespace intaglio::server
