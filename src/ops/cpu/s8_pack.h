// Packing of int8 weights [n, k] into panels of 32 columns, shared by the layouts of all CPU
// kernels.
//
// A Layout says how many consecutive k form one group (kGroup), to what k is padded (kPadK), which
// bits are flipped (kFlip, 0x80 turns s8 into s8 + 128 as u8), and where the group (column c of 32,
// k group g) lies inside a panel. Padding holds weight 0.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "ops/cpu/s8_gemm_kernels.h"

namespace intaglio {

inline constexpr int64_t s8_round_up(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

template <typename Layout>
struct S8Packing {
  static int64_t padded_k(int64_t k) { return s8_round_up(k, Layout::kPadK); }
  static int64_t panel_bytes(int64_t k) { return padded_k(k) * kS8PanelCols; }
  static int64_t panels(int64_t n) { return (n + kS8PanelCols - 1) / kS8PanelCols; }
  static size_t packed_bytes(int64_t n, int64_t k) {
    return static_cast<size_t>(panels(n) * panel_bytes(k));
  }

  static void pack(const int8_t* w, int64_t n, int64_t k, void* packed) {
    const int64_t kp = padded_k(k);
    const int64_t full_groups = k / Layout::kGroup;
    for (int64_t panel = 0; panel < panels(n); ++panel) {
      uint8_t* target = static_cast<uint8_t*>(packed) + panel * panel_bytes(k);
      const int64_t cols = std::min<int64_t>(kS8PanelCols, n - panel * kS8PanelCols);
      const int8_t* source = w + panel * kS8PanelCols * k;
      if (cols < kS8PanelCols || kp != k)
        std::memset(target, Layout::kFlip, static_cast<size_t>(panel_bytes(k)));
      for (int64_t g = 0; g < full_groups; ++g) {
        for (int64_t c = 0; c < cols; ++c) {
          uint8_t group[Layout::kGroup];
          std::memcpy(group, source + c * k + g * Layout::kGroup, Layout::kGroup);
          for (uint8_t& byte : group) byte ^= Layout::kFlip;
          std::memcpy(target + Layout::offset(c, g, kp), group, Layout::kGroup);
        }
      }
      for (int64_t i = full_groups * Layout::kGroup; i < k; ++i) {
        for (int64_t c = 0; c < cols; ++c) {
          target[Layout::offset(c, full_groups, kp) + i % Layout::kGroup] =
              static_cast<uint8_t>(source[c * k + i]) ^ Layout::kFlip;
        }
      }
    }
  }

  static void unpack_rows(const void* packed, int64_t, int64_t k, int64_t first, int64_t count,
                          int8_t* out) {
    const int64_t kp = padded_k(k);
    for (int64_t row = first; row < first + count; ++row) {
      const uint8_t* panel =
          static_cast<const uint8_t*>(packed) + row / kS8PanelCols * panel_bytes(k);
      const int64_t c = row % kS8PanelCols;
      int8_t* target = out + (row - first) * k;
      int64_t i = 0;
      for (int64_t g = 0; i < k; ++g) {
        const uint8_t* group = panel + Layout::offset(c, g, kp);
        for (int64_t j = 0; j < Layout::kGroup && i < k; ++j, ++i)
          target[i] = static_cast<int8_t>(group[j] ^ Layout::kFlip);
      }
    }
  }
};

// [k / 4][32 columns][4 k], u8
struct S8VnniLayout {
  static constexpr int kGroup = 4;
  static constexpr int kPadK = 4;
  static constexpr uint8_t kFlip = 0x80;
  static int64_t offset(int64_t column, int64_t group, int64_t) {
    return (group * kS8PanelCols + column) * kGroup;
  }
};

// [2 halves of 16 columns][k / 2][16 columns][2 k], s8
struct S8Avx2Layout {
  static constexpr int kGroup = 2;
  static constexpr int kPadK = 2;
  static constexpr uint8_t kFlip = 0;
  static int64_t offset(int64_t column, int64_t group, int64_t padded_k) {
    return column / 16 * padded_k * 16 + (group * 16 + column % 16) * kGroup;
  }
};

// [k / 64][2 tiles of 16 columns][16 rows of the tile = k / 4][16 columns][4 k], s8
struct S8AmxLayout {
  static constexpr int kGroup = 4;
  static constexpr int kPadK = 64;
  static constexpr uint8_t kFlip = 0;
  static int64_t offset(int64_t column, int64_t group, int64_t) {
    return ((group / 16 * 2 + column / 16) * 16 + group % 16) * 64 + column % 16 * 4;
  }
};

}  // namespace intaglio
