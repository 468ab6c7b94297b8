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

// `at` is a multiple of the target's unit.
Status copy_piece(const Context& context, const StagedTarget& target, size_t at, const void* host,
                  size_t bytes) {
  return copy_to_device(static_cast<std::byte*>(target.data) + at / target.unit * target.stride,
                        target.stride, host, target.unit, bytes, context.stream);
}

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

  // `bytes` <= kSlotBytes, from `at` on.
  Status copy(const Context& context, const StagedTarget& target, size_t at, size_t bytes,
              const MakeBytes& make) {
    INTAGLIO_TRY(device_status(cudaEventSynchronize(copied_), "cudaEventSynchronize"));
    auto* const pinned = pinned_.as<std::byte>();
    INTAGLIO_TRY(make(at, {pinned, bytes}));
    INTAGLIO_TRY(copy_piece(context, target, at, pinned, bytes));
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

namespace {

// `staging` is locked, and somebody has begun.
Status copy_by_slots(const Context& context, Staging& staging, const StagedTarget& target,
                     size_t bytes, size_t piece, const MakeBytes& make) {
  if (staging.ring == nullptr) {
    auto ring = std::make_unique<Ring>();
    for (Slot& slot : ring->slots) INTAGLIO_TRY(slot.make());
    staging.ring = std::move(ring);
  }
  for (size_t at = 0; at < bytes; at += piece) {
    Slot& slot = staging.ring->slots[staging.ring->next];
    staging.ring->next = (staging.ring->next + 1) % kSlots;
    INTAGLIO_TRY(slot.copy(context, target, at, std::min(piece, bytes - at), make));
  }
  return {};
}

}  // namespace

Status copy_staged(const Context& context, void* target, const void* host, size_t bytes) {
  Staging& staging = staging_of(context.gpu->ordinal);
  const std::scoped_lock lock(staging.mutex);
  if (staging.users == 0) return copy_to_device(target, host, bytes, context.stream);
  const auto* const from = static_cast<const std::byte*>(host);
  return copy_by_slots(context, staging, {.data = target}, bytes, kSlotBytes,
                       [&](size_t at, std::span<std::byte> out) {
                         return parallel_tasks(context, static_cast<int64_t>(out.size()),
                                               kThreadBytes, [&](int64_t begin, int64_t end, int) {
                                                 std::memcpy(out.data() + begin, from + at + begin,
                                                             static_cast<size_t>(end - begin));
                                               });
                       });
}

Status make_staged(const Context& context, const StagedTarget& target, size_t bytes,
                   const MakeBytes& make) {
  const size_t piece =
      std::min(bytes, std::max(target.unit, kSlotBytes / target.unit * target.unit));
  Staging& staging = staging_of(context.gpu->ordinal);
  {
    const std::scoped_lock lock(staging.mutex);
    if (staging.users > 0 && piece <= kSlotBytes)
      return copy_by_slots(context, staging, target, bytes, piece, make);
  }
  INTAGLIO_ASSIGN(const AlignedBuffer host, AlignedBuffer::allocate(piece));
  for (size_t at = 0; at < bytes; at += piece) {
    const std::span<std::byte> out(host.as<std::byte>(), std::min(piece, bytes - at));
    INTAGLIO_TRY(make(at, out));
    INTAGLIO_TRY(copy_piece(context, target, at, out.data(), out.size()));
  }
  return {};
}

}  // namespace intaglio::cuda
