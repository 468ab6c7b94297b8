// Host side of check_quantize_rows: rows with odd values at fixed places, and what the references
// make of them.
#pragma once

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "core/dtype.h"
#include "ops/cpu/quantize_kernels.h"
#include "ops/cuda/quantize_rows_params.h"
#include "quant/rotation.h"

namespace intaglio::bench {

using cuda::RowTransform;

struct RowCase {
  RowTransform transform = RowTransform::kNone;
  DType type = DType::kBF16;
  int rows = 1, cols = 1;
  int group = 0;
  int gap = 0;      // ldx - columns of x, elements; filled with NaN
  int shift = 0;    // x starts this many elements after an aligned address
  int padding = 0;  // columns of q beyond the next multiple of 16
};

inline int64_t ldx_of(const RowCase& c) { return int64_t{c.cols} + c.gap; }
inline int64_t ldq_of(const RowCase& c) { return (c.cols + 15) / 16 * 16 + c.padding; }
inline int type_bytes(DType type) { return type == DType::kF32 ? 4 : 2; }

inline std::string name_of(RowTransform transform, int group) {
  switch (transform) {
    case RowTransform::kNone:
      return "plain";
    case RowTransform::kSmooth:
      return "smooth";
    case RowTransform::kRotate:
      return "rotate" + std::to_string(group);
  }
  return "?";
}
inline const char* name_of(DType type) {
  return type == DType::kF32 ? "f32" : type == DType::kBF16 ? "bf16" : "f16";
}

template <typename Body>
void parallel_rows(int rows, Body&& body) {
  const int count =
      std::max(1, std::min<int>(rows, static_cast<int>(std::thread::hardware_concurrency())));
  std::atomic<int> next{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < count; ++t)
    threads.emplace_back([&] {
      for (int row = next++; row < rows; row = next++) body(row);
    });
  for (std::thread& thread : threads) thread.join();
}

// Bell-shaped, deviation 1; the same on every machine.
inline float random_value(uint64_t index) {
  uint64_t z = (index + 1) * 0x9e3779b97f4a7c15ull;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  z ^= z >> 31;
  const auto part = [z](int i) { return static_cast<float>((z >> (16 * i)) & 0xffff) / 65536.0f; };
  return (part(0) + part(1) + part(2) + part(3) - 2.0f) * 1.7320508f;
}

struct RowData {
  std::vector<uint8_t> x;     // as the device reads it
  std::vector<float> values;  // [rows, cols], exactly what x holds
  std::vector<float> smooth;
  std::vector<int8_t> q;  // [rows, ldq]
  std::vector<float> scale;
};

// Row r has something odd by r % 16: 1 zeros of both signs, 2 a NaN, 3 an Inf, 4 tiny, 5 subnormal,
// 6 huge, 7 ties, 8 one outlier, 9 a NaN with sign and payload.
inline float case_value(int row, int64_t column, int64_t columns) {
  const float value =
      random_value(static_cast<uint64_t>(row) * 131071u + static_cast<uint64_t>(column));
  switch (row % 16) {
    case 1:
      return column % 2 ? 0.0f : -0.0f;
    case 2:
      return column == columns - 1 ? std::numeric_limits<float>::quiet_NaN() : value;
    case 3:
      return column == columns / 2 ? -std::numeric_limits<float>::infinity() : value;
    case 4:
      return value * 1e-33f;
    case 5:
      return column % 3 ? 1e-40f : 0.0f;
    case 6:
      return value * 1e37f;
    case 7:
      return column == 0 ? 127.0f : static_cast<float>(column % 253 - 126) + 0.5f;
    case 8:
      return column == columns / 3 ? 1000.0f : value;
    case 9:
      return column == 0 ? std::bit_cast<float>(0xffc10000u) : value;
    default:
      return value;
  }
}

inline RowData make_rows(const RowCase& c) {
  RowData data;
  const int64_t columns = c.cols, ldx = ldx_of(c), ldq = ldq_of(c);
  const int bytes = type_bytes(c.type);
  data.x.resize(static_cast<size_t>((c.rows * ldx + c.shift) * bytes));
  data.values.resize(static_cast<size_t>(c.rows * columns));
  data.q.assign(static_cast<size_t>(c.rows * ldq), 0);
  data.scale.resize(static_cast<size_t>(c.rows));
  data.smooth.resize(static_cast<size_t>(c.cols));
  for (size_t i = 0; i < data.smooth.size(); ++i)
    data.smooth[i] = std::exp2(random_value((1u << 28) + i));
  if (c.cols > 3) data.smooth[3] = 1e-3f;

  parallel_rows(c.rows, [&](int row) {
    float* values = data.values.data() + row * columns;
    uint8_t* to = data.x.data() + (row * ldx + c.shift) * bytes;
    for (int64_t i = 0; i < ldx; ++i) {
      const float value = i < columns ? case_value(row, i, columns) : std::nanf("");
      float back = value;
      if (c.type == DType::kF32) {
        std::memcpy(to + i * 4, &value, 4);
      } else if (c.type == DType::kBF16) {
        const BFloat16 half(value);
        back = static_cast<float>(half);
        std::memcpy(to + i * 2, &half, 2);
      } else {
        const Float16 half(value);
        back = static_cast<float>(half);
        std::memcpy(to + i * 2, &half, 2);
      }
      if (i < columns) values[i] = back;
    }

    std::vector<float> y(values, values + c.cols);
    int8_t* q = data.q.data() + row * ldq;
    float& scale = data.scale[static_cast<size_t>(row)];
    switch (c.transform) {
      case RowTransform::kNone:
        break;
      case RowTransform::kSmooth:
        smooth_row(values, data.smooth.data(), c.cols, y.data());
        break;
      case RowTransform::kRotate:
        rotate_row(y.data(), c.cols, c.group);
        break;
    }
    scale = ref_quantize_row_f32(y.data(), c.cols, q);
  });
  return data;
}

struct RowVerdict {
  int64_t q_off = 0;       // integers that differ
  int64_t q_far = 0;       // by more than one step
  int64_t scale_off = 0;   // scales whose bits differ
  float scale_far = 0.0f;  // largest relative difference of a scale
  int64_t nan_off = 0;     // rows where one scale is NaN and the other is not
  int64_t outside = 0;     // bytes written outside q and scale
  bool ok = false;
};

// `q` is [rows, ldq], padding included.
inline RowVerdict judge(const RowData& expected, const int8_t* q, const float* scale) {
  RowVerdict v;
  for (size_t i = 0; i < expected.q.size(); ++i) {
    const int difference = std::abs(q[i] - expected.q[i]);
    v.q_off += difference != 0;
    v.q_far += difference > 1;
  }
  for (size_t r = 0; r < expected.scale.size(); ++r) {
    const float a = scale[r], b = expected.scale[r];
    v.scale_off += std::bit_cast<uint32_t>(a) != std::bit_cast<uint32_t>(b);
    v.nan_off += std::isnan(a) != std::isnan(b);
    if (!std::isnan(a) && !std::isnan(b)) v.scale_far = std::max(v.scale_far, std::fabs(a - b) / b);
  }
  v.ok = v.q_off == 0 && v.scale_off == 0;
  return v;
}

}  // namespace intaglio::bench
