// Work beside the caller's own, one piece at a time: a file is written while the next numbers for
// it are made.
#pragma once

#include <future>
#include <utility>

#include "core/status.h"

namespace intaglio {

class SideTask {
 public:
  SideTask() = default;
  SideTask(const SideTask&) = delete;
  SideTask& operator=(const SideTask&) = delete;
  ~SideTask() {
    if (running_.valid()) running_.wait();
  }

  // Waits for the task before; its error is returned, and `task`, a Status(), not begun then. Where
  // the system starts no thread it runs in `wait`.
  template <typename Task>
  Status start(Task&& task) {
    INTAGLIO_TRY(wait());
    // libstdc++ and libc++ prefer a thread; with `async` alone they throw where there is none.
    constexpr auto kThreadIfAny = std::launch::async | std::launch::deferred;
    running_ = std::async(kThreadIfAny, std::forward<Task>(task));
    return {};
  }
  // The status of what was started; an exception of it is thrown here.
  Status wait() { return running_.valid() ? running_.get() : Status{}; }

 private:
  std::future<Status> running_;
};

}  // namespace intaglio
