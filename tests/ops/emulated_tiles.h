// AMX tiles in plain loops, for the policies of amx_gemm_kernel.h: the drivers and their blocking
// are tested on machines without AMX.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>

namespace intaglio::testing {

// A tile is 16 rows of 64 bytes.
struct EmulatedTiles {
  struct Tile {
    alignas(64) uint8_t bytes[16][64];
  };
  static inline thread_local Tile tiles[8];
  static inline thread_local bool configured = false;

  static void configure() {
    configured = true;
    std::memset(tiles, 0, sizeof(tiles));
  }
  static void release() {
    configured = false;
    std::memset(tiles, 0xee, sizeof(tiles));
  }
  template <int kTile>
  static void zero() {
    EXPECT_TRUE(configured);
    std::memset(&tiles[kTile], 0, sizeof(Tile));
  }
  template <int kTile>
  static void load(const void* p, int64_t stride) {
    for (int r = 0; r < 16; ++r)
      std::memcpy(tiles[kTile].bytes[r], static_cast<const uint8_t*>(p) + r * stride, 64);
  }
  template <int kTile>
  static void load_stream(const void* p, int64_t stride) {
    load<kTile>(p, stride);
  }
  template <int kTile>
  static void store(void* p, int64_t stride) {
    for (int r = 0; r < 16; ++r)
      std::memcpy(static_cast<uint8_t*>(p) + r * stride, tiles[kTile].bytes[r], 64);
  }
  static void prefetch_l1(const void*) {}
  static void prefetch_l2(const void*) {}
};

}  // namespace intaglio::testing
