#pragma once

#include "lanes.h"

namespace intaglio::cuda::ptx {

inline uint4 ld_global_stream_16(const void* from) {
  uint4 v{};
  if (reinterpret_cast<uintptr_t>(from) % 16 != 0) emulation::fail("ld.global: misaligned");
  std::memcpy(&v, from, 16);
  return v;
}

inline void prefetch_l1(const void*) {}

}  // namespace intaglio::cuda::ptx
