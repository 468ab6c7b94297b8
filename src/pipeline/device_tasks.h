// Work for several devices at once, a thread for each.
//
// One thread could give recorded passes to all of them, as that is a call each. A pass that is not
// recorded (the first, and those that take long) holds its thread up, so that it can be stopped
// (core/pace.h), and would keep the other devices waiting.
#pragma once

#include <atomic>
#include <functional>
#include <span>

#include "core/context.h"
#include "core/status.h"

namespace intaglio {

struct DeviceTask {
  const Context* context = nullptr;  // its GPU is the current device of the thread
  std::function<Status()> work{};    // gives work to it
};

// Where the system starts no thread for a task: it waits for one before it, or, as tasks do that
// wait for each other, fails with kUnsupported.
enum class TaskThreads { kIfAny, kEach };

// Runs all of them, and returns when none runs any more. The first that fails sets `stop`, which
// the contexts' own `cancel` points to, and so does this function once `cancel`, which may be null,
// is set. Of several errors the first that is not kCancelled is returned; kDevice names the GPU.
// The first task's GPU is the calling thread's current device afterwards.
Status run_on_devices(std::span<const DeviceTask> tasks, const std::atomic<bool>* cancel,
                      std::atomic<bool>& stop, TaskThreads threads = TaskThreads::kIfAny);

}  // namespace intaglio
