#include "core/cuda/staged_copy.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <mutex>

#include "core/cuda/device.h"
#include "core/cuda/device_memory.h"
#include "core/parallel_tasks.h"
#include "core/per_device.h"

namespace intaglio::cuda {
namespace {

constexpr size_t kSlotBytes = size_t{8} << 20;
constexpr size_t kSlots = 3;  // one is filled, one is on its way, one waits for its turn
constexpr int64_t kThreadBytes = 256 << 10;

// Pinned memory, and what is recorded behind the last copy from it.
class Slot {
 public:
  Slot() = default;
  Slot(const Slot&) = delete;
  Slot& operator=(const Slot&) = delete;
  ~Slot() {
    if (copied_ == nullptr) return;
    cudaEventSynchronize(copied_);
    cudaEventDestroy(copied_);
  }

  Status make() {
    INTAGLIO_ASSIGN(pinned_, allocate_pinned_memory(kSlotBytes));
    return device_status(cudaEventCreateWithFlags(&copied_, cudaEventDisableTiming),
                         "cudaEventCreateWithFlags");
  }

  // `bytes` <= kSlotBytes.
  Status copy(const Context& context, std::byte* target, const std::byte* host, size_t bytes) {
    INTAGLIO_TRY(device_status(cudaEventSynchronize(copied_), "cudaEventSynchronize"));
    auto* const pinned = pinned_.as<std::byte>();
    INTAGLIO_TRY(parallel_tasks(
        context, static_cast<int64_t>(bytes), kThreadBytes, [&](int64_t begin, int64_t end, int) {
          std::memcpy(pinned + begin, host + begin, static_cast<size_t>(end - begin));
        }));
    INTAGLIO_TRY(copy_to_device(target, pinned, bytes, context.stream));
    return device_status(cudaEventRecord(copied_, static_cast<cudaStream_t>(context.stream)),
                         "cudaEventRecord");
  }

 private:
  AlignedBuffer pinned_;
  cudaEvent_t copied_ = nullptr;
};

struct Ring {
  std::array<Slot, kSlots> slots;
  size_t next = 0;
};

struct Staging {
  std::mutex mutex;
  int users = 0;
  std::unique_ptr<Ring> ring;
};

Staging& staging_of(int ordinal) {
  static PerDevice<Staging> all;
  return all.get(ordinal, [] { return std::make_unique<Staging>(); });
}

}  // namespace

void begin_staged_copies(int ordinal) {
  Staging& staging = staging_of(ordinal);
  const std::scoped_lock lock(staging.mutex);
  ++staging.users;
}

void end_staged_copies(int ordinal) {
  Staging& staging = staging_of(ordinal);
  const std::scoped_lock lock(staging.mutex);
  if (--staging.users == 0) staging.ring.reset();
}

Status copy_staged(const Context& context, void* target, const void* host, size_t bytes) {
  Staging& staging = staging_of(context.gpu->ordinal);
  const std::scoped_lock lock(staging.mutex);
  if (staging.users == 0) return copy_to_device(target, host, bytes, context.stream);
  if (staging.ring == nullptr) {
    auto ring = std::make_unique<Ring>();
    for (Slot& slot : ring->slots) INTAGLIO_TRY(slot.make());
    staging.ring = std::move(ring);
  }
  for (size_t at = 0; at < bytes; at += kSlotBytes) {
    Slot& slot = staging.ring->slots[staging.ring->next];
    staging.ring->next = (staging.ring->next + 1) % kSlots;
    INTAGLIO_TRY(slot.copy(context, static_cast<std::byte*>(target) + at,
                           static_cast<const std::byte*>(host) + at,
                           std::min(kSlotBytes, bytes - at)));
  }
  return {};
}

}  // namespace intaglio::cuda
