// Shared memory begins at address 1024, as it does on recent cards.
#pragma once

#include "lanes.h"

namespace intaglio::cuda::ptx {

inline constexpr uint32_t kSharedBase = 1024;

inline uint32_t shared_address(const void* pointer) {
  return kSharedBase + static_cast<uint32_t>(static_cast<const int8_t*>(pointer) - smem);
}

// The 16 bytes at an address.
inline int8_t* shared_16(uint32_t address) {
  if (address < kSharedBase || address - kSharedBase + 16 > kSharedBytes || address % 16 != 0) {
    emulation::fail("shared memory: bad address");
    return smem;
  }
  return smem + (address - kSharedBase);
}

inline void st_shared_16(uint32_t address, uint4 v) { std::memcpy(shared_16(address), &v, 16); }

}  // namespace intaglio::cuda::ptx
