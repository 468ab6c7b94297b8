#include "server/routes/job_watch.h"

#include <deque>
#include <mutex>

#include "core/base64.h"
#include "server/job_json.h"

namespace intaglio::server {
namespace {

std::string preview_text(const JobEvent& event) {
  return json_text({{"id", event.job.id},
                    {"picture", event.job.progress.picture},
                    {"step", event.job.progress.step},
                    {"image", "data:image/png;base64," + base64(*event.preview)}});
}

// Called under the service's lock: only queues. `ends`: the stream is of this job alone.
void send_event(EventStream& stream, const JobEvent& event, bool ends) {
  const Job& job = event.job;
  switch (event.kind) {
    case JobEvent::Kind::kState:
      stream.send("state", json_text(job_json(job)));
      if (ends && is_ended(job.state)) stream.finish();
      return;
    case JobEvent::Kind::kProgress:
      stream.send("progress", json_text(progress_json(job)), EventStream::Keep::kDroppable,
                  "progress " + job.id);
      return;
    case JobEvent::Kind::kPreview:
      stream.send("preview", preview_text(event), EventStream::Keep::kDroppable,
                  "preview " + job.id);
      return;
    case JobEvent::Kind::kPicture:
      if (job.pictures.empty()) return;
      stream.send("picture",
                  json_text({{"id", job.id}, {"picture", picture_json(job, job.pictures.back())}}));
      return;
    case JobEvent::Kind::kRemoved:
      stream.send("removed", json_text({{"id", job.id}}));
      if (ends) stream.finish();
      return;
  }
}

// One that waits for the end of a job. What it hears it does on the pool, in the order it came.
class Waiter : public std::enable_shared_from_this<Waiter> {
 public:
  Waiter(Site& site, std::function<void(std::optional<Job>)> done, Preview preview)
      : site_(site), done_(std::move(done)), preview_(std::move(preview)) {}

  void start(const std::string& id) {
    listener_ = site_.jobs.listen(
        id, [self = shared_from_this()](const JobEvent& event) { self->hear(event); });
    if (listener_ == 0) queue([self = shared_from_this()] { self->end(std::nullopt); });
    std::lock_guard lock(mutex_);
    started_ = true;
    run_if_due();
  }

 private:
  void hear(const JobEvent& event) {
    if (event.kind == JobEvent::Kind::kPreview) {
      queue([self = shared_from_this(), job = event.job, png = event.preview] {
        if (self->preview_) self->preview_(job, png);
      });
    } else if (event.kind == JobEvent::Kind::kState && is_ended(event.job.state)) {
      queue([self = shared_from_this(), job = event.job] { self->end(job); });
    } else if (event.kind == JobEvent::Kind::kRemoved) {
      queue([self = shared_from_this()] { self->end(std::nullopt); });
    }
  }

  void end(std::optional<Job> job) {
    if (!done_) return;
    const auto done = std::exchange(done_, nullptr);
    preview_ = nullptr;
    if (listener_ != 0) site_.jobs.unlisten(listener_);
    done(std::move(job));
  }

  void queue(std::function<void()> task) {
    std::lock_guard lock(mutex_);
    tasks_.push_back(std::move(task));
    run_if_due();
  }

  // Under the lock. One task of this waiter at a time is on the pool.
  void run_if_due() {
    if (!started_ || running_ || tasks_.empty()) return;
    running_ = site_.pool.post_always([self = shared_from_this()] { self->run(); });
  }

  void run() {
    std::unique_lock lock(mutex_);
    while (!tasks_.empty()) {
      const std::function<void()> task = std::move(tasks_.front());
      tasks_.pop_front();
      lock.unlock();
      task();
      lock.lock();
    }
    running_ = false;
  }

  Site& site_;
  std::function<void(std::optional<Job>)> done_;
  Preview preview_;
  std::mutex mutex_;
  std::deque<std::function<void()>> tasks_;
  uint64_t listener_ = 0;
  bool started_ = false, running_ = false;
};

}  // namespace

std::shared_ptr<EventStream> watch_jobs(Site& site, const std::string& id) {
  auto stream = std::make_shared<EventStream>();
  const bool one = !id.empty();
  const uint64_t listener = site.jobs.listen(
      id, [stream, one](const JobEvent& event) { send_event(*stream, event, one); });
  if (one && listener == 0) return nullptr;
  // May come from within send(), thus from within the service.
  stream->on_closed([&site, listener] {
    site.pool.post_always([&site, listener] { site.jobs.unlisten(listener); });
  });
  return stream;
}

void await_job(Site& site, const std::string& id, std::function<void(std::optional<Job>)> done,
               Preview preview) {
  std::make_shared<Waiter>(site, std::move(done), std::move(preview))->start(id);
}

void cancel_if_gone(Site& site, Exchange& exchange, const std::string& id) {
  exchange.on_gone([&site, id] { site.pool.post_always([&site, id] { site.jobs.cancel(id); }); });
}

}  // namespace intaglio::server
