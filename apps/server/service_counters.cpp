#include "server/service_counters.h"

#include <fmt/format.h>
#include <unistd.h>

#include <fstream>
#include <iterator>

namespace intaglio::server {
namespace {

constexpr double kFirstGuess = 5;  // seconds a job
constexpr double kNewest = 0.2;    // weight of the newest in a running mean

void count(ServiceStats::Histogram& histogram, double value) {
  for (size_t i = 0; i < std::size(ServiceStats::kBounds); ++i)
    if (value <= ServiceStats::kBounds[i]) ++histogram.counts[i];
  ++histogram.counts.back();
  histogram.sum += value;
}

void average(double& mean, double value) {
  mean = mean == 0 ? value : mean + kNewest * (value - mean);
}

}  // namespace

void ServiceCounters::waited(double seconds) { count(stats_.wait, seconds); }

void ServiceCounters::ended(JobState state, double ran) {
  ++stats_.ended[std::string(kJobStateNames[static_cast<size_t>(state)])];
  if (ran < 0) return;
  count(stats_.run, ran);
  if (state == JobState::kDone) average(seconds_per_job_, ran);
}

void ServiceCounters::drew(const std::string& model, const std::string& precision,
                           const DrawnPicture& picture, double seconds) {
  ++stats_.pictures[fmt::format("{},{},done", model, precision)];
  for (size_t i = 0; i < kPhaseNames.size(); ++i)
    count(stats_.phases[std::string(kPhaseNames[i])], picture.phase_ms[i] / 1e3);
  average(stats_.seconds_per_picture, seconds);
}

void ServiceCounters::failed(const std::string& model, const std::string& precision,
                             bool cancelled) {
  ++stats_.pictures[fmt::format("{},{},{}", model, precision, cancelled ? "cancelled" : "failed")];
}

double ServiceCounters::seconds_per_job() const {
  return seconds_per_job_ > 0 ? seconds_per_job_ : kFirstGuess;
}

uint64_t resident_bytes() {
  std::ifstream file("/proc/self/statm");
  uint64_t size = 0, resident = 0;
  file >> size >> resident;
  return resident * static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
}

}  // namespace intaglio::server
