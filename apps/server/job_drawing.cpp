// The thread that draws.
#include <algorithm>

#include "core/out_of_memory.h"
#include "server/queued_job_service.h"

namespace intaglio::server {

void QueuedJobService::interrupt(Why why) {
  if (running_->why == Why::kNone) running_->why = why;
  running_->cancel = true;
}

void QueuedJobService::draw_jobs() {
  Lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [&] { return stopping_ || (storing_ && !queue_.empty()); });
    if (stopping_) return;
    const QueuedJob taken = queue_.take(last_key_, parts_.clock->steady());
    last_key_ = taken.key;
    draw_job(lock, live_.at(taken.id));
  }
}

void QueuedJobService::draw_job(Lock& lock, Live& live) {
  Job& job = live.stored.job;
  running_.emplace();
  running_->id = job.id;
  job.state = JobState::kRunning;
  job.started = parts_.clock->utc();
  job.progress = {};
  ++live.stored.attempts;
  // A process that ends while it draws must find that it did.
  if (!save(lock, live)) return wait_for_store(lock, live);
  counters_.waited(std::max(job.started - job.created, 0.0));
  emit(JobEvent::Kind::kState, job);
  emit_positions();
  end_drawn(lock, live, draw_pictures(lock, live));
}

// What cannot be kept is not begun: the job is the next one again, once the store takes something.
void QueuedJobService::wait_for_store(Lock& lock, Live& live) {
  if (running_->why != Why::kNone)
    return end_drawn(lock, live, JobError{"io", "the database of jobs cannot be written"});
  return_to_queue(live);
  running_.reset();
  changed_.notify_all();
}

void QueuedJobService::return_to_queue(Live& live) {
  Job& job = live.stored.job;
  job.state = JobState::kQueued;
  job.started = 0;
  job.progress = {};
  --live.stored.attempts;
  queue_.add({.id = job.id,
              .client = job.client,
              .priority = job.request.priority,
              .key = parts_.drawer->key(job.request)});
}

std::optional<JobError> QueuedJobService::draw_pictures(Lock& lock, Live& live) {
  const Job& job = live.stored.job;
  lock.unlock();
  const auto init = guard_memory("reading the picture to begin from", [&] {
    return read_init_picture(job.request, [this](const std::string& id) { return input(id); });
  });
  lock.lock();
  if (!init) return job_error(init.error());
  for (int64_t index = 0; index < job.request.count; ++index) {
    const bool there = std::any_of(job.pictures.begin(), job.pictures.end(),
                                   [&](const JobPicture& p) { return p.index == index; });
    if (there) continue;
    if (running_->cancel) return job_error({ErrorCode::kCancelled, "cancelled"});
    if (auto error = draw_picture(lock, live, *init ? &**init : nullptr, index)) return error;
  }
  return std::nullopt;
}

std::optional<JobError> QueuedJobService::draw_picture(Lock& lock, Live& live,
                                                       const InitPicture* init, int64_t index) {
  Job& job = live.stored.job;
  DrawHooks hooks;
  hooks.cancel = &running_->cancel;
  hooks.init = init;
  hooks.progress = [&](const PictureProgress& progress) { report(job.id, index, progress); };
  if (job.request.previews > 0)
    hooks.preview = [&](int64_t step, std::shared_ptr<const std::string> png) {
      const Lock inner(mutex_);
      job.progress.picture = index;
      job.progress.step = step;
      emit(JobEvent::Kind::kPreview, job, png);
    };
  const double start = parts_.clock->steady();
  // The request of a job stays as it is, and the job while it runs.
  lock.unlock();
  const Expected<DrawnPicture> drawn = guard_memory(
      "drawing a picture", [&] { return parts_.drawer->draw(job.request, index, hooks); });
  JobPicture picture{.index = index,
                     .seed = job.request.seed.value_or(0) + static_cast<uint64_t>(index)};
  Status status;
  if (drawn) {
    picture.width = drawn->width;
    picture.height = drawn->height;
    status = store_->add_picture(job.id, picture, drawn->png);
  } else {
    status = tl::unexpected<Error>(drawn.error());
  }
  const std::vector<ServedModel> models = parts_.drawer->models();
  lock.lock();
  const auto model = std::find_if(models.begin(), models.end(), [&](const ServedModel& m) {
    return m.name == job.request.model;
  });
  const std::string precision = model == models.end() ? "" : model->precision;
  if (!status) {
    counters_.failed(job.request.model, precision, running_->cancel);
    return job_error(status.error());
  }
  counters_.drew(job.request.model, precision, *drawn, parts_.clock->steady() - start);
  const auto place = std::find_if(job.pictures.begin(), job.pictures.end(),
                                  [&](const JobPicture& other) { return other.index > index; });
  job.pictures.insert(place, picture);
  emit(JobEvent::Kind::kPicture, job);
  return std::nullopt;
}

void QueuedJobService::report(const std::string& id, int64_t picture,
                              const PictureProgress& progress) {
  const Lock lock(mutex_);
  Job& job = live_.at(id).stored.job;
  running_->meter.update(job, picture, progress, parts_.clock->steady());
  emit(JobEvent::Kind::kProgress, job);
}

void QueuedJobService::end_drawn(Lock& lock, Live& live, std::optional<JobError> error) {
  const Why why = running_->why;
  if (why == Why::kStop && error) {
    put_back(lock, live);
  } else if (why == Why::kClient) {
    end(lock, live, JobState::kCancelled, std::nullopt);
  } else if (why == Why::kDeadline && error) {
    end(lock, live, JobState::kFailed,
        JobError{"deadline", "it was not drawn within its deadline"});
  } else if (error) {
    end(lock, live, JobState::kFailed, std::move(error));
  } else {
    live.stored.job.progress.fraction = 1;
    live.stored.job.progress.seconds_left = 0;
    end(lock, live, JobState::kDone, std::nullopt);
  }
  running_.reset();
  changed_.notify_all();
}

// Where the server stops first: a later one goes on with the pictures that are missing.
void QueuedJobService::put_back(Lock& lock, Live& live) {
  return_to_queue(live);
  static_cast<void>(save(lock, live));
  const Job waiting = seen(live.stored.job);
  emit(JobEvent::Kind::kState, waiting);
}

}  // namespace intaglio::server
