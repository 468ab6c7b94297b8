#pragma once

#include "lanes.h"

namespace intaglio::cuda::ptx {

inline uint4 ld_global_stream_16(const void* from) {
  uint4 v{};
  if (reinterpret_cast<uintptr_t>(from) % 16 != 0) emulation::fail("ld.global: misaligned");
  std::memcpy(&v, from, 16);
  return v;
}

inline uint2 ld_global_stream_8(const void* from) {
  uint2 v{};
  if (reinterpret_cast<uintptr_t>(from) % 8 != 0) emulation::fail("ld.global: misaligned");
  std::memcpy(&v, from, 8);
  return v;
}

inline uint32_t ld_global_stream_4(const void* from) {
  uint32_t v = 0;
  if (reinterpret_cast<uintptr_t>(from) % 4 != 0) emulation::fail("ld.global: misaligned");
  std::memcpy(&v, from, 4);
  return v;
}

inline void prefetch_l1(const void*) {}

}  // namespace intaglio::cuda::ptx
