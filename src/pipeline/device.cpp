#include "pipeline/device.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>

#include "core/log.h"
#include "core/memory_info.h"
#include "core/processors.h"
#if defined(INTAGLIO_HAS_CUDA)
#include "core/cuda/device.h"
#include "core/cuda/stream.h"
#include "ops/cuda/launch/int8_linear.h"
#endif

namespace intaglio {
namespace {

// Once a process: every command asks for its context more than once.
void note_crowd(int threads, int usable) {
  static std::atomic<bool> noted{false};
  if (noted.exchange(true)) return;
  log(LogLevel::kWarning, "{} threads asked for, {} used: this process may use {} processor{}",
      threads, usable, usable, usable == 1 ? "" : "s");
}

}  // namespace

Expected<Context> host_context(int threads) {
  Context context;
  INTAGLIO_ASSIGN(context.cpu, selected_cpu_features());
  const int usable = usable_processors();
  // More threads than processors would only take turns, and wait for one another while they do.
  context.threads = threads > 0 ? std::min(threads, usable) : usable;
  if (threads > usable) note_crowd(threads, usable);
  INTAGLIO_TRY(ThreadPool::global().start(context.threads));
  return context;
}

#if defined(INTAGLIO_HAS_CUDA)

Expected<DeviceContext> open_device(std::optional<int> gpu, int threads) {
  DeviceContext device;
  INTAGLIO_ASSIGN(device.context, host_context(threads));
  if (!gpu) return device;
  INTAGLIO_ASSIGN(device.context.gpu, cuda::find_device(*gpu));
  INTAGLIO_TRY(cuda::check_device(*gpu));
  INTAGLIO_TRY(cuda::use_device(*gpu));
  INTAGLIO_ASSIGN(device.stream, cuda::make_stream());
  device.context.stream = device.stream.get();
  return device;
}

Status make_current(const Context& context) {
  return context.gpu != nullptr ? cuda::use_device(context.gpu->ordinal) : Status{};
}

std::optional<int> default_gpu() {
  for (int ordinal = 0; cuda::find_device(ordinal); ++ordinal)
    if (cuda::check_device(ordinal)) return ordinal;
  return std::nullopt;
}

Expected<uint64_t> available_device_bytes(const Context& context) {
  if (context.gpu == nullptr) return available_memory_bytes();
  INTAGLIO_ASSIGN(const cuda::DeviceMemoryInfo info, cuda::device_memory_info());
  return info.free;
}

#else

Expected<DeviceContext> open_device(std::optional<int> gpu, int threads) {
  if (gpu)
    return make_error(ErrorCode::kUnsupported, "cuda:{}: this build has no CUDA kernels", *gpu);
  DeviceContext device;
  INTAGLIO_ASSIGN(device.context, host_context(threads));
  return device;
}

Status make_current(const Context&) { return {}; }

std::optional<int> default_gpu() { return std::nullopt; }

Expected<uint64_t> available_device_bytes(const Context&) { return available_memory_bytes(); }

#endif

std::string device_name(const Context& context) {
  if (context.gpu == nullptr) return "cpu";
  return fmt::format("cuda:{}, {}", context.gpu->ordinal, context.gpu->name);
}

}  // namespace intaglio
