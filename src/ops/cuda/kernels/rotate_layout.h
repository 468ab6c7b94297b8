// Where the rotating quantizer keeps its values while threads exchange them: offsets only, so that
// a test can walk them on the host.
//
// A thread starts with 16 consecutive columns (index bits 3..0 in registers). To reach strides 16
// and 64 the 16 threads of 256 columns exchange, after which register i of thread u holds column 16
// i + u (bits 7..4); to reach strides 256 and 1024 the 256 threads of 4096 columns exchange, after
// which register j of thread p holds column 256 j + p (bits 11..8). At the end the int8 values go
// back to 16 consecutive columns a thread as words of four bytes, a quarter of the floats' traffic.
//
// Paddings make every access free of bank conflicts: 20 floats for 16 (16-byte accesses of 8 lanes
// hit 8 different sixteenths), group strides of 16 modulo 32 (the two half warps use different
// banks).
#pragma once

#include <cstdint>

#ifdef __CUDACC__
#define INTAGLIO_HOST_DEVICE __host__ __device__
#else
#define INTAGLIO_HOST_DEVICE
#endif

namespace intaglio::cuda {

inline constexpr int kSmallStride = 336;               // floats of one group of 256
inline constexpr int kWarpScratch = 2 * kSmallStride;  // floats of a warp: two groups
inline constexpr int kLargeStride = 272;               // floats of one of 16 rows of 256
inline constexpr int kTileThreads = 256;               // threads of 4096 columns
static_assert(16 * kLargeStride <= 8 * kWarpScratch, "the large exchange reuses the warps' memory");

// Strides 16 and 64. `lane` of the warp; offsets in floats from the warp's scratch.
INTAGLIO_HOST_DEVICE constexpr int small_write(int lane, int quad) {  // 4 floats: columns 4 quad..
  return (lane / 16) * kSmallStride + (lane % 16) * 20 + 4 * quad;
}
INTAGLIO_HOST_DEVICE constexpr int small_read(int lane, int i) {  // column 16 i + lane % 16
  return (lane / 16) * kSmallStride + i * 20 + lane % 16;
}

// Strides 256 and 1024. `thread` of the tile; offsets in floats from the tile's scratch.
INTAGLIO_HOST_DEVICE constexpr int large_write(int thread, int i) {
  return (thread / 16) * kLargeStride + 16 * i + thread % 16;
}
INTAGLIO_HOST_DEVICE constexpr int large_read(int thread, int j) {
  return j * kLargeStride + thread;
}

// Back to 16 consecutive columns: word a of a thread holds the bytes of its registers 4 a.. 4 a +
// 3. A thread reads 16 words (4 accesses of 4 words) and takes byte `*_byte` of each.
INTAGLIO_HOST_DEVICE constexpr int small_word_write(int lane, int a) {
  return (lane / 16) * 80 + a * 16 + lane % 16;
}
INTAGLIO_HOST_DEVICE constexpr int small_word_read(int lane, int quad) {
  return (lane / 16) * 80 + (lane % 16 / 4) * 16 + 4 * quad;
}
INTAGLIO_HOST_DEVICE constexpr int small_byte(int lane) { return lane % 4; }

INTAGLIO_HOST_DEVICE constexpr int large_word_write(int thread, int a) {
  return a * 320 + thread + thread / 16 * 4;
}
INTAGLIO_HOST_DEVICE constexpr int large_word_read(int thread, int quad) {
  return (thread / 64) * 320 + (thread % 16) * 20 + 4 * quad;
}
INTAGLIO_HOST_DEVICE constexpr int large_byte(int thread) { return thread / 16 % 4; }

}  // namespace intaglio::cuda
