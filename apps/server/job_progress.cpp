#include "server/job_progress.h"

namespace intaglio::server {
namespace {

// Of a picture's time, about: what is before sampling and sampling itself. The rest decodes.
constexpr double kBefore = 0.02, kSampling = 0.88;

double fraction_of(const PictureProgress& p) {
  const double done =
      p.total > 0 ? static_cast<double>(p.done) / static_cast<double>(p.total) : 0.0;
  if (p.phase < Phase::kDenoise) return 0.0;
  if (p.phase == Phase::kDenoise) return kBefore + kSampling * done;
  return kBefore + kSampling + (p.phase == Phase::kDecode ? (1 - kBefore - kSampling) * done : 0.0);
}

}  // namespace

JobError job_error(const Error& error) {
  return {std::string(error_code_name(error.code)), error.message};
}

void ProgressMeter::update(Job& job, int64_t picture, const PictureProgress& progress, double now) {
  JobProgress& p = job.progress;
  p.phase = kPhaseNames[static_cast<size_t>(progress.phase)];
  p.picture = picture;
  if (progress.phase <= Phase::kDenoise) {
    p.step = progress.phase == Phase::kDenoise ? progress.done : 0;
    p.steps = progress.phase == Phase::kDenoise ? progress.total : job.request.steps.value_or(0);
  }
  const auto count = static_cast<double>(job.request.count);
  p.fraction = (static_cast<double>(picture) + fraction_of(progress)) / count;
  // Loading takes its time once: the rate is measured from the first step on.
  if (since_ == 0 && progress.phase == Phase::kDenoise) {
    since_ = now;
    from_ = p.fraction;
  }
  const double done = p.fraction - from_;
  p.seconds_left.reset();
  if (since_ > 0 && done > 0) p.seconds_left = (1 - p.fraction) * (now - since_) / done;
}

}  // namespace intaglio::server
