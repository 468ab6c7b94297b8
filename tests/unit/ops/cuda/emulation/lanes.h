// Runs the CUDA kernels' own sources on the CPU, lane by lane, so that their logic is tested on
// machines without a GPU. Every lane is a fiber; warps take turns at random, so they drift apart
// between barriers as they do on a card. The folder beside this file replaces ops/cuda/ptx:
// instructions by their definition in the PTX manual, written apart from the kernels.
//
// What it shows: wrong indices, missing waits and barriers (copies land as late or as early as the
// rules allow), bank conflicts of ldmatrix, misaligned accesses, warps that diverge at a
// collective. What it does not: anything about time, and the compiler's own work.
#pragma once

#include <ucontext.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <deque>
#include <functional>
#include <memory>
#include <random>
#include <stdexcept>
#include <vector>

#define __device__
#define __global__
#define __host__
#define __shared__
#define __grid_constant__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __align__(bytes) __attribute__((aligned(bytes)))

struct uint2 {
  uint32_t x, y;
};
struct int2 {
  int32_t x, y;
};
struct float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(16) uint4 {
  uint32_t x, y, z, w;
};
inline uint4 make_uint4(uint32_t x, uint32_t y, uint32_t z, uint32_t w) { return {x, y, z, w}; }

namespace emulation {

struct Copy {
  uint32_t to;
  const void* from;
  int bytes;
};

enum class State { kRunning, kAtWarp, kAtBlock, kDone };

struct Lane {
  ucontext_t context{};
  State state = State::kRunning;
  unsigned collectives = 0;
  std::vector<Copy> open_group;
  std::deque<std::vector<Copy>> groups;
};

struct Index {
  unsigned x = 0, y = 0, z = 0;
};

struct Machine {
  std::vector<Lane> lanes;
  std::vector<std::unique_ptr<char[]>> stacks;  // of the lanes, kept from block to block
  ucontext_t scheduler{};
  int current = 0;
  Index block, grid;
  bool late_copies = true;  // cp.async lands when it is waited for; false: at once
  // [warp][parity][lane]: what a collective publishes. By turns, so that the next collective cannot
  // overwrite what a slow lane still reads.
  uint32_t exchange[32][2][32][8] = {};
  std::mt19937 random{1};
  std::function<void()> kernel;
  const char* fault = nullptr;  // the first thing that no kernel may do
};
inline Machine machine;

inline void fail(const char* what) {
  if (machine.fault == nullptr) machine.fault = what;
}

inline Lane& this_lane() { return machine.lanes[static_cast<size_t>(machine.current)]; }
inline int lane_index() { return machine.current % 32; }
// Of the collective that the lane is about to take part in; keep the reference over the barrier.
inline auto& this_exchange() {
  return machine.exchange[machine.current / 32][this_lane().collectives % 2];
}

inline void stop_at(State state) {
  Lane& lane = this_lane();
  lane.state = state;
  swapcontext(&lane.context, &machine.scheduler);
}

// All 32 lanes arrive before any goes on.
inline void warp_barrier() {
  ++this_lane().collectives;
  stop_at(State::kAtWarp);
}

inline void lane_entry() {
  machine.kernel();
  stop_at(State::kDone);
}

// Runs every lane of a warp to its next stop. False when the warp cannot go on by itself.
inline bool advance_warp(int warp) {
  int at_warp = 0;
  for (int i = 32 * warp; i < 32 * warp + 32; ++i) {
    Lane& lane = machine.lanes[static_cast<size_t>(i)];
    if (lane.state == State::kRunning) {
      machine.current = i;
      swapcontext(&machine.scheduler, &lane.context);
      // A sanitizer forgets what it knew of a stack of known size at every switch to it, which
      // takes longer than most kernels: once is enough, before the block's first.
      lane.context.uc_stack.ss_size = 0;
    }
    at_warp += lane.state == State::kAtWarp ? 1 : 0;
  }
  if (at_warp == 0) return false;
  if (at_warp != 32) throw std::logic_error("lanes of a warp part at a collective");
  for (int i = 32 * warp; i < 32 * warp + 32; ++i) {
    machine.lanes[static_cast<size_t>(i)].state = State::kRunning;
  }
  return true;
}

inline void run_block(int threads) {
  constexpr size_t kStackBytes = 128 * 1024;
  machine.lanes.clear();
  machine.lanes.resize(static_cast<size_t>(threads));
  while (machine.stacks.size() < machine.lanes.size())
    machine.stacks.push_back(std::make_unique_for_overwrite<char[]>(kStackBytes));
  for (size_t i = 0; i < machine.lanes.size(); ++i) {
    Lane& lane = machine.lanes[i];
    getcontext(&lane.context);
    lane.context.uc_stack.ss_sp = machine.stacks[i].get();
    lane.context.uc_stack.ss_size = kStackBytes;
    lane.context.uc_link = &machine.scheduler;
    makecontext(&lane.context, lane_entry, 0);
  }
  const auto count = [](State state) {
    return std::count_if(machine.lanes.begin(), machine.lanes.end(),
                         [&](const Lane& lane) { return lane.state == state; });
  };
  while (count(State::kDone) != threads) {
    if (count(State::kAtBlock) + count(State::kDone) == threads) {
      for (Lane& lane : machine.lanes) {
        if (lane.state == State::kAtBlock) lane.state = State::kRunning;
      }
    }
    const int warp = static_cast<int>(machine.random() % (static_cast<unsigned>(threads) / 32));
    const unsigned steps = 1 + machine.random() % 20;
    for (unsigned i = 0; i < steps && advance_warp(warp); ++i) {
    }
  }
}

// threadIdx.x, the only one in use.
struct ThreadX {
  operator unsigned() const { return static_cast<unsigned>(machine.current); }
};
struct ThreadIndex {
  ThreadX x;
};
inline ThreadIndex thread_index;

// What lane `source` of the warp published.
inline uint32_t exchange_word(uint32_t value, int source) {
  auto& published = this_exchange();
  published[lane_index()][0] = value;
  warp_barrier();
  return published[source][0];
}

}  // namespace emulation

#define threadIdx emulation::thread_index
#define blockIdx emulation::machine.block
#define gridDim emulation::machine.grid

using std::max;
using std::min;

inline void __syncthreads() { emulation::stop_at(emulation::State::kAtBlock); }
inline void __syncwarp() { emulation::warp_barrier(); }
inline uint32_t __shfl_sync(uint32_t, uint32_t value, int source) {
  return emulation::exchange_word(value, source);
}
inline uint32_t __shfl_xor_sync(uint32_t, uint32_t value, int mask) {
  return emulation::exchange_word(value, emulation::lane_index() ^ mask);
}
inline double __shfl_xor_sync(uint32_t, double value, int mask) {
  const auto bits = std::bit_cast<uint64_t>(value);
  const int source = emulation::lane_index() ^ mask;
  const uint64_t low = emulation::exchange_word(static_cast<uint32_t>(bits), source);
  const uint64_t high = emulation::exchange_word(static_cast<uint32_t>(bits >> 32), source);
  return std::bit_cast<double>(high << 32 | low);
}
template <typename T>
T __ldg(const T* from) {
  return *from;
}
inline float __int2float_rn(int32_t x) { return static_cast<float>(x); }
inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fdividef(float a, float b) { return a / b; }
inline float __expf(float x) { return std::exp(x); }
inline float __uint_as_float(uint32_t bits) { return std::bit_cast<float>(bits); }
inline uint32_t __float_as_uint(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  return bits;
}

// The kernels' dynamic shared memory.
inline constexpr uint32_t kSharedBytes = 164 * 1024;
namespace intaglio::cuda {
extern int8_t smem[];
}
