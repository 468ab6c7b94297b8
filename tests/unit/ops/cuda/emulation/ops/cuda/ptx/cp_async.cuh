#pragma once

#include "ops/cuda/ptx/shared_memory.cuh"

namespace intaglio::cuda::ptx {

inline void land(const emulation::Copy& copy) {
  int8_t* to = shared_16(copy.to);
  std::memset(to, 0, 16);
  if (copy.bytes > 0) std::memcpy(to, copy.from, static_cast<size_t>(copy.bytes));
}

inline void cp_async_16(uint32_t dst, const void* src, int src_bytes) {
  if (src_bytes > 0 && reinterpret_cast<uintptr_t>(src) % 16 != 0)
    emulation::fail("cp.async: misaligned source");
  const emulation::Copy copy{dst, src, src_bytes};
  if (!emulation::machine.late_copies) return land(copy);
  // Until it has landed nobody may read the place: spoil it.
  std::memset(shared_16(dst), 0x77, 16);
  emulation::this_lane().open_group.push_back(copy);
}

inline void cp_async_commit() {
  emulation::Lane& lane = emulation::this_lane();
  lane.groups.push_back(std::move(lane.open_group));
  lane.open_group.clear();
}

template <int kPending>
void cp_async_wait() {
  auto& groups = emulation::this_lane().groups;
  while (static_cast<int>(groups.size()) > kPending) {
    for (const emulation::Copy& copy : groups.front()) land(copy);
    groups.pop_front();
  }
}

}  // namespace intaglio::cuda::ptx
