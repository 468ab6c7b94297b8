// A few threads for what may wait on a disk or compute for a while, which those of the sockets
// never do.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace intaglio::server {

class WorkerPool {
 public:
  WorkerPool(int threads, size_t max_waiting);
  ~WorkerPool();  // stop()

  // False: too many wait already, or the pool has stopped.
  bool post(std::function<void()> task);
  // Whatever waits; false after stop().
  bool post_always(std::function<void()> task);
  // Runs what waits, then ends the threads.
  void stop();

 private:
  void run();

  const size_t max_waiting_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> tasks_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace intaglio::server
