// What the row kernels use beyond emulation/lanes.h: more intrinsics, device memory between guards,
// grids of blocks. For the kernel tests of rows and pictures. Include it before any kernel.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "lanes.h"
// Fibers of one thread share what is thread_local, as lanes share what is __shared__; unlike
// static, it may also be declared extern.
#undef __shared__
#define __shared__ thread_local

namespace emulation {
// Signed, as lane numbers are that it is compared with.
struct BlockIndex {
  int x = 0, y = 1, z = 1;
};
inline BlockIndex block_dim;

inline float4 poison() {
  return {std::nanf(""), std::nanf(""), std::nanf(""), machine.late_copies ? 1.0f : 2.0f};
}

template <typename T>
T load_aligned(const T* from) {
  if (reinterpret_cast<uintptr_t>(from) % sizeof(T) != 0) fail("global load: misaligned");
  return *from;
}
}  // namespace emulation
#define blockDim emulation::block_dim

inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline uint2 make_uint2(uint32_t x, uint32_t y) { return {x, y}; }

template <typename T>
T __ldcs(const T* from) {
  return emulation::load_aligned(from);
}
template <typename T>
T __ldcg(const T* from) {
  return emulation::load_aligned(from);
}
template <typename T>
void __stcs(T* to, T value) {
  if (reinterpret_cast<uintptr_t>(to) % sizeof(T) != 0) emulation::fail("global store: misaligned");
  *to = value;
}

// Lanes take turns: nothing comes between the read and the write.
inline uint32_t atomicOr(uint32_t* at, uint32_t bits) {
  const uint32_t before = *at;
  *at |= bits;
  return before;
}

inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fsqrt_rn(float a) { return std::sqrt(a); }
inline float __frcp_rn(float a) { return 1.0f / a; }
inline float __shfl_xor_sync(uint32_t mask, float value, int step) {
  return __uint_as_float(__shfl_xor_sync(mask, __float_as_uint(value), step));
}
// Byte i of the result is byte (select >> 4 i) & 7 of the eight bytes y:x.
inline uint32_t __byte_perm(uint32_t x, uint32_t y, uint32_t select) {
  const uint64_t both = uint64_t{y} << 32 | x;
  uint32_t result = 0;
  for (int i = 0; i < 4; ++i)
    result |= static_cast<uint32_t>(both >> ((select >> (4 * i) & 7) * 8) & 0xff) << (8 * i);
  return result;
}
#include <cuda_fp16.h>
inline __half __ushort_as_half(uint16_t bits) { return std::bit_cast<__half>(bits); }

namespace intaglio::cuda {

// Runs every block of a grid, in x first.
template <typename Kernel>
void run_grid(int64_t blocks_x, int threads, Kernel&& kernel, int64_t blocks_y = 1) {
  emulation::machine.kernel = kernel;
  emulation::machine.fault = nullptr;
  emulation::machine.grid = {static_cast<unsigned>(blocks_x), static_cast<unsigned>(blocks_y), 1};
  emulation::block_dim.x = threads;
  for (unsigned y = 0; y < emulation::machine.grid.y; ++y) {
    for (unsigned x = 0; x < emulation::machine.grid.x; ++x) {
      emulation::machine.block = {x, y, 0};
      emulation::run_block(threads);
    }
  }
  EXPECT_EQ(emulation::machine.fault, nullptr) << emulation::machine.fault;
}

// Device memory at a multiple of 16 bytes plus `shift` elements, poisoned, with guards on both
// sides.
template <typename T>
class Memory {
 public:
  explicit Memory(int64_t count, int64_t shift = 0)
      : count_(static_cast<size_t>(count)),
        offset_(kGuardBytes + static_cast<size_t>(shift) * sizeof(T)),
        storage_((offset_ + count_ * sizeof(T) + kGuardBytes) / 16 + 1) {
    std::memset(storage_.data(), kPoison, storage_.size() * 16);
  }
  T* data() { return reinterpret_cast<T*>(bytes() + offset_); }
  T& operator[](int64_t i) { return data()[i]; }
  int64_t count() const { return static_cast<int64_t>(count_); }
  // Call it at the end of every test: nothing was written outside.
  bool guards_are_whole() {
    const uint8_t* const end = bytes() + storage_.size() * 16;
    const auto whole = [](const uint8_t* from, const uint8_t* to) {
      return std::all_of(from, to, [](uint8_t byte) { return byte == kPoison; });
    };
    return whole(bytes(), bytes() + offset_) && whole(bytes() + offset_ + count_ * sizeof(T), end);
  }

 private:
  static constexpr size_t kGuardBytes = 64;
  static constexpr uint8_t kPoison = 0xa5;
  uint8_t* bytes() { return reinterpret_cast<uint8_t*>(storage_.data()); }
  size_t count_, offset_;
  std::vector<uint4> storage_;
};

// Any element type of a test as a float.
inline float as_float(float x) { return x; }
inline float as_float(BFloat16 x) { return static_cast<float>(x); }
inline float as_float(Float16 x) { return static_cast<float>(x); }

inline float normal_value(std::mt19937& random) {
  return std::normal_distribution<float>(0.0f, 1.0f)(random);
}

// Near within `ulps` steps of float about the larger of |expected| and `floor`; NaN only meets NaN.
inline bool is_near(float got, double expected, double ulps, double floor) {
  if (std::isnan(expected)) return std::isnan(got);
  if (std::isinf(expected)) return static_cast<double>(got) == expected;
  return std::fabs(static_cast<double>(got) - expected) <=
         ulps * 0x1p-23 * std::max(std::fabs(expected), floor);
}

}  // namespace intaglio::cuda
