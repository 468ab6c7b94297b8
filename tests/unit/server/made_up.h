// A clock, a drawer and a listener that a test holds in its hands: nothing waits for time.
#pragma once

#include <gtest/gtest.h>

#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "server/clock.h"
#include "server/drawer.h"
#include "server/queued_job_service.h"
#include "support/temp_folder.h"

namespace intaglio::server::test {

// Goes on by advance() alone.
class ManualClock final : public Clock {
 public:
  double utc() const override {
    const std::lock_guard lock(mutex_);
    return utc_;
  }
  double steady() const override {
    const std::lock_guard lock(mutex_);
    return steady_;
  }
  void wait(std::condition_variable& changed, std::unique_lock<std::mutex>& lock,
            double until) const override {
    {
      const std::lock_guard own(mutex_);
      if (steady_ >= until) return;
      waiters_.insert({&changed, lock.mutex()});
    }
    changed.wait(lock);
    const std::lock_guard own(mutex_);
    waiters_.erase({&changed, lock.mutex()});
  }
  void advance(double seconds) {
    std::set<Waiter> waiters;
    {
      const std::lock_guard lock(mutex_);
      utc_ += seconds;
      steady_ += seconds;
      waiters = waiters_;
    }
    for (const auto& [changed, mutex] : waiters) {
      // Who saw the old time is in its wait once this lock is held.
      { const std::lock_guard lock(*mutex); }
      changed->notify_all();
    }
  }
  void jump(double seconds) {  // of the wall's clock
    const std::lock_guard lock(mutex_);
    utc_ += seconds;
  }

 private:
  using Waiter = std::pair<std::condition_variable*, std::mutex*>;
  mutable std::mutex mutex_;
  double utc_ = 1.8e9, steady_ = 100;
  mutable std::set<Waiter> waiters_;
};

// What happened, in its order; waits for more.
class EventLog {
 public:
  struct Entry {
    JobEvent::Kind kind;
    Job job;
    std::shared_ptr<const std::string> preview;
  };
  JobListener listener() {
    return [this](const JobEvent& event) {
      const std::lock_guard lock(mutex_);
      entries_.push_back({event.kind, event.job, event.preview});
      changed_.notify_all();
    };
  }
  // Of the job, once it has ended.
  Job wait_for_end(const std::string& id) { return wait_for(id, is_ended); }
  Job wait_for(const std::string& id, const std::function<bool(JobState)>& wanted) {
    return wait_for_event([&](const Entry& entry) {
             return entry.kind == JobEvent::Kind::kState && entry.job.id == id &&
                    wanted(entry.job.state);
           })
        .job;
  }
  Entry wait_for_event(const std::function<bool(const Entry&)>& wanted) {
    std::unique_lock lock(mutex_);
    for (size_t seen = 0;; ++seen) {
      changed_.wait(lock, [&] { return entries_.size() > seen; });
      if (wanted(entries_[seen])) return entries_[seen];
    }
  }
  std::vector<Entry> entries() const {
    const std::lock_guard lock(mutex_);
    return entries_;
  }
  std::vector<JobState> states_of(const std::string& id) const {
    std::vector<JobState> states;
    for (const Entry& entry : entries())
      if (entry.kind == JobEvent::Kind::kState && entry.job.id == id)
        states.push_back(entry.job.state);
    return states;
  }

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Entry> entries_;
};

// Stands between a test and the thread that draws.
class Gate {
 public:
  // In the drawer: waits until it is let through, or asked to stop.
  void pass(const std::atomic<bool>* cancel = nullptr) {
    std::unique_lock lock(mutex_);
    ++arrived_;
    changed_.notify_all();
    changed_.wait(lock, [&] { return open_ || through_ > 0 || (cancel != nullptr && *cancel); });
    if (through_ > 0) --through_;
  }
  void wait_for(int arrivals) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return arrived_ >= arrivals; });
  }
  void let(int pictures) {
    const std::lock_guard lock(mutex_);
    through_ += pictures;
    changed_.notify_all();
  }
  void open() {
    const std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }
  // After a flag of `pass` has changed.
  void look() {
    const std::lock_guard lock(mutex_);
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int arrived_ = 0, through_ = 0;
  bool open_ = false;
};

// What the pictures of a made-up drawer are: their text instead of a PNG.
inline std::string made_up_png(const JobRequest& request, int64_t index) {
  return request.prompt + "#" + std::to_string(index) + "@" +
         std::to_string(*request.seed + static_cast<uint64_t>(index));
}

// Shared by a drawer and the test that gave it away.
struct Studio {
  using Draw = std::function<Expected<DrawnPicture>(const JobRequest&, int64_t, const DrawHooks&)>;
  Draw draw;  // instead of made_up_png

  void drew(const std::string& what) {
    const std::lock_guard lock(mutex);
    order.push_back(what);
  }
  std::vector<std::string> drawn() const {
    const std::lock_guard lock(mutex);
    return order;
  }
  mutable std::mutex mutex;
  std::vector<std::string> order;
};

class MadeUpDrawer final : public Drawer {
 public:
  explicit MadeUpDrawer(std::shared_ptr<Studio> studio) : studio_(std::move(studio)) {}

  std::vector<ServedModel> models() const override {
    std::vector<ServedModel> models(2);
    models[0].name = "a";
    models[1].name = "b";
    for (ServedModel& model : models) {
      model.precision = "int8";
      model.info.name = model.name;
      model.info.default_width = model.info.default_height = 64;
    }
    models[0].info.takes_init_picture = true;
    return models;
  }
  std::vector<std::string> loras() const override { return {}; }
  std::string device() const override { return "none"; }
  Accepted<JobRequest> complete(const JobRequest& request) const override {
    JobRequest complete = request;
    if (complete.model.empty()) complete.model = "a";
    if (complete.model != "a" && complete.model != "b")
      return tl::unexpected<Refusal>(Refusal{Refusal::Reason::kNotFound, "model", "no model", 0});
    complete.width = request.width.value_or(16);
    complete.height = request.height.value_or(16);
    complete.steps = request.steps.value_or(2);
    return complete;
  }
  DrawKey key(const JobRequest& request) const override {
    return {request.model, std::to_string(*request.width)};
  }
  Expected<DrawnPicture> draw(const JobRequest& request, int64_t index,
                              const DrawHooks& hooks) override {
    studio_->drew(request.prompt);
    if (studio_->draw) return studio_->draw(request, index, hooks);
    return picture(request, index);
  }
  static DrawnPicture picture(const JobRequest& request, int64_t index) {
    const std::string text = made_up_png(request, index);
    return {.png = {text.begin(), text.end()}, .width = *request.width, .height = *request.height};
  }

 private:
  std::shared_ptr<Studio> studio_;
};

inline JobRequest asking_for(const std::string& prompt, int64_t count = 1) {
  JobRequest request;
  request.prompt = prompt;
  request.count = count;
  return request;
}

// A service on a folder of its own, which outlives it.
struct Bench {
  TempFolder folder;
  ManualClock clock;
  std::shared_ptr<Studio> studio = std::make_shared<Studio>();
  Gate gate;
  EventLog events;
  JobLimits limits;
  Retention retention;
  std::unique_ptr<JobService> service;

  // Pictures wait at the gate.
  void use_gate() {
    studio->draw = [this](const JobRequest& request, int64_t index,
                          const DrawHooks& hooks) -> Expected<DrawnPicture> {
      gate.pass(hooks.cancel);
      if (*hooks.cancel) return make_error(ErrorCode::kCancelled, "cancelled");
      return MadeUpDrawer::picture(request, index);
    };
  }
  Status open() {
    INTAGLIO_ASSIGN(service,
                    QueuedJobService::open({.folder = folder.path(),
                                            .limits = limits,
                                            .retention = retention,
                                            .drawer = std::make_unique<MadeUpDrawer>(studio),
                                            .clock = &clock}));
    service->listen("", events.listener());
    return {};
  }
  // Also of one that ended before anybody listened.
  Job end_of(const std::string& id) const {
    EventLog own;
    const uint64_t listener = service->listen(id, own.listener());
    Job job = own.wait_for_end(id);
    service->unlisten(listener);
    return job;
  }
  std::string submit(const JobRequest& request, const std::string& client = "c") {
    const Accepted<Job> job = service->submit(request, client);
    EXPECT_TRUE(job.has_value()) << job.error().message;
    return job ? job->id : "";
  }
};

}  // namespace intaglio::server::test
