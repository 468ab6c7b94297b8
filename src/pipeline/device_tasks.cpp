#include "pipeline/device_tasks.h"

#include <fmt/format.h>

#include <chrono>
#include <future>
#include <system_error>
#include <vector>

#include "pipeline/device.h"

namespace intaglio {
namespace {

// How often the caller's flag is looked at.
constexpr auto kLook = std::chrono::milliseconds(1);

// Sets `stop` unless the task ends well, also by an exception.
Status run_task(const DeviceTask& task, std::atomic<bool>& stop) {
  struct StopOthers {
    std::atomic<bool>& stop;
    bool failed = true;
    ~StopOthers() {
      if (failed) stop = true;
    }
  } others{stop};
  Status done = make_current(*task.context).and_then(task.work);
  if (!done && done.error().code == ErrorCode::kDevice && task.context->gpu != nullptr)
    done.error().message =
        fmt::format("cuda:{}: {}", task.context->gpu->ordinal, done.error().message);
  others.failed = !done;
  return done;
}

}  // namespace

Status run_on_devices(std::span<const DeviceTask> tasks, const std::atomic<bool>* cancel,
                      std::atomic<bool>& stop, TaskThreads threads) {
  // Where the system starts no thread a deferred task runs when it is waited for.
  const auto launch = threads == TaskThreads::kEach ? std::launch::async
                                                    : std::launch::async | std::launch::deferred;
  std::vector<std::future<Status>> running;
  running.reserve(tasks.size());
  // Where this function is left by an exception, `running` waits for tasks that wait for others.
  struct StopUnlessDone {
    std::atomic<bool>& stop;
    bool done = false;
    ~StopUnlessDone() {
      if (!done) stop = true;
    }
  } unless{stop};
  Status all;
  for (const DeviceTask& task : tasks) {
    try {
      running.push_back(std::async(launch, [&task, &stop] { return run_task(task, stop); }));
    } catch (const std::system_error& error) {
      stop = true;
      all = make_error(ErrorCode::kUnsupported, "a thread for each of {} devices: {}", tasks.size(),
                       error.what());
      break;
    }
  }
  for (std::future<Status>& task : running) {
    do {
      if (cancel != nullptr && cancel->load(std::memory_order_relaxed)) stop = true;
    } while (task.wait_for(kLook) == std::future_status::timeout);
    Status done = task.get();
    if (all || (!done && all.error().code == ErrorCode::kCancelled)) all = std::move(done);
  }
  unless.done = true;
  INTAGLIO_TRY(make_current(*tasks.front().context));
  return all;
}

}  // namespace intaglio
