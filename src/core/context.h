// What an op runs on: a GPU and a stream, or threads and an instruction set, and scratch memory.
// The caller owns all of it.
#pragma once

#include <atomic>
#include <cstdint>

#include "core/arena.h"
#include "core/cpu_features.h"
#include "core/cuda_device.h"
#include "core/parallel.h"
#include "core/status.h"

namespace intaglio {

struct Context {
  // The GPU that ops run on, which is the thread's current device; every pointer to tensors and
  // weights is then its memory, and ops only put work on `stream` (a cudaStream_t). nullptr: they
  // run on the CPU and have finished when they return.
  const CudaDevice* gpu = nullptr;
  void* stream = nullptr;
  int threads = 1;
  CpuFeatures cpu;
  const std::atomic<bool>* cancel =
      nullptr;  // set by the caller to stop; models look at it once a layer
  // Memory of the device; ops take what they need in a scope and give it back before they return
  Arena* scratch = nullptr;
};

// kCancelled once the caller has asked to stop.
inline Status check_cancelled(const Context& context) {
  if (context.cancel == nullptr || !context.cancel->load(std::memory_order_relaxed)) return {};
  return make_error(ErrorCode::kCancelled, "stopped on request");
}

}  // namespace intaglio
