// The checks of check_row_ops for the small passes over floats: each launcher against double loops.
#pragma once

#include "ops/cuda/launch/elementwise.h"
#include "ops/cuda/launch/euler_step.h"
#include "row_ops_checks.cuh"

namespace intaglio::bench {

inline void check_flat_passes(Verdicts& v, int64_t count, int64_t shift) {
  v.begin("flat passes of " + std::to_string(count) + " shifted by " + std::to_string(shift));
  // `shift` leading elements that no pass touches bring the arrays out of line.
  const auto x = random_floats(count + shift, 1, 0.0f, 3.0f), y = random_floats(count + shift, 2);
  const auto z = random_floats(count + shift, 3);
  const auto half = as_bf16(y);
  const auto first = static_cast<size_t>(shift);
  const auto run = [&](auto&& launch) {
    const Buffer<float> d_x(x);
    MUST(launch(d_x.data() + shift));
    MUST(cudaDeviceSynchronize());
    const auto now = d_x.values(v);
    for (size_t i = 0; i < first; ++i) v.same("before", static_cast<int64_t>(i), now[i], x[i]);
    return now;
  };
  const Buffer<float> d_y(y), d_z(z), factor(std::vector<float>{0.75f}), limited(1),
      back(count + shift);
  const Buffer<BFloat16> d_half(half), out(count + shift);
  const auto silu = run([&](float* at) {
    return cuda::activate_rows({at, 1, count, count, Nonlinearity::kSilu}, nullptr);
  });
  const auto sum = run([&](float* at) {
    return cuda::add_in_place(at, d_y.data() + shift, DType::kF32, count, nullptr);
  });
  const auto half_sum = run([&](float* at) {
    return cuda::add_in_place(at, d_half.data() + shift, DType::kBF16, count, nullptr);
  });
  const float* const velocities[] = {d_y.data() + shift, d_z.data() + shift};
  const cuda::PassesParams guided{{velocities[0], velocities[1]}, {4.5f, -3.5f}, 2, count};
  const cuda::PassesParams all{
      {velocities[0], velocities[1], velocities[1], velocities[0]}, {4.5f, -3.5f, 2, -1}, 4, count};
  const auto step = [&](const cuda::PassesParams& passes, const float* by) {
    return run([&](float* at) { return cuda::euler_step({passes, at, -0.037f, by}, nullptr); });
  };
  const auto euler = step(guided, nullptr), euler_of_four = step(all, factor.data());
  const auto plain = step({{velocities[0]}, {1.0f}, 1, count}, nullptr);
  MUST(cuda::limit_velocity_norm({guided, 0, 2.0f, limited.data()}, nullptr));
  double of_reference = 0.0, of_sum = 0.0;
  run([&](float* at) {
    return cuda::convert_elements(at, DType::kF32, out.data() + shift, DType::kBF16, count,
                                  nullptr);
  });
  MUST(cuda::convert_elements(out.data() + shift, DType::kBF16, back.data() + shift, DType::kF32,
                              count, nullptr));
  MUST(cudaDeviceSynchronize());
  const auto converted = out.values(v);
  const auto floats = back.values(v);
  for (size_t i = first; i < x.size(); ++i) {
    const auto at = static_cast<int64_t>(i);
    v.near("silu", at, silu[i], x[i] / (1.0 + std::exp(-double{x[i]})), 1e-6, 1e-30);
    v.same("sum", at, sum[i], x[i] + y[i]);
    v.same("bf16 sum", at, half_sum[i], x[i] + static_cast<float>(half[i]));
    const float two = 4.5f * y[i] + (1.0f - 4.5f) * z[i];
    v.same("euler", at, euler[i], x[i] - -0.037f * two);
    const float four = two + 2.0f * z[i] + -1.0f * y[i];
    v.same("euler of four", at, euler_of_four[i], x[i] - -0.037f * (0.75f * four));
    of_reference += double{y[i]} * double{y[i]};
    of_sum += double{two} * double{two};
    v.same("plain euler", at, plain[i], x[i] - -0.037f * y[i]);
    v.same("bf16", at, static_cast<float>(converted[i]), static_cast<float>(BFloat16(x[i])));
    v.same("f32", at, floats[i], static_cast<float>(converted[i]));
  }
  v.near("limit", 0, limited.values(v)[0], std::min(1.0, 2.0 * std::sqrt(of_reference / of_sum)),
         1e-7, 0.0);
}

inline void check_row_passes(Verdicts& v, int64_t cols) {
  const int64_t rows = 7, count = rows * cols;
  v.begin("row passes of " + std::to_string(cols) + " columns");
  const auto x = random_floats(2 * count, 1, 0.0f, 2.0f);
  const auto half = as_bf16(x);
  const Buffer<float> d_x(x), gated(count), taps(count * 3), beside(count * 3);
  const Buffer<BFloat16> d_half(half), gated_half(count);
  MUST(cuda::epilogue_rows({d_x.data(), gated.data(), rows, cols, DType::kF32, DType::kF32},
                           nullptr));
  MUST(cuda::epilogue_rows({d_half.data(), gated_half.data(), rows, cols}, nullptr));
  MUST(cuda::scatter_tap({d_x.data(), taps.data(), rows, cols, 3 * cols, 3, 2}, nullptr));
  MUST(cuda::scatter_tap({d_x.data(), beside.data(), rows, cols, 3 * cols, 1, 2 * cols}, nullptr));
  // The right half of every row, by each function.
  const auto activated = [&](Nonlinearity function) {
    const Buffer<float> values(x);
    MUST(cuda::activate_rows({values.data() + cols, rows, cols, 2 * cols, function}, nullptr));
    MUST(cudaDeviceSynchronize());
    return values.values(v);
  };
  const auto t = activated(Nonlinearity::kTanh), l = activated(Nonlinearity::kGeluTanh);
  const auto s = activated(Nonlinearity::kSigmoid);
  MUST(cudaDeviceSynchronize());
  const auto g = gated.values(v), f = taps.values(v), b = beside.values(v);
  const auto gh = gated_half.values(v);
  const auto swiglu = [](double gate, double up) { return gate / (1.0 + std::exp(-gate)) * up; };
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < cols; ++c) {
      const int64_t i = r * cols + c;
      const auto at = static_cast<size_t>(i), gate = static_cast<size_t>(2 * r * cols + c);
      const auto up = gate + static_cast<size_t>(cols);
      v.near("swiglu", i, g[at], swiglu(x[gate], x[up]), 2e-6, 1e-30);
      v.near("bf16 swiglu", i, static_cast<float>(gh[at]),
             swiglu(static_cast<float>(half[gate]), static_cast<float>(half[up])), kHalfStep,
             1e-30);
      v.same("tap", i, f[static_cast<size_t>(3 * i + 2)], x[at]);
      v.same("tap beside", i, b[static_cast<size_t>((3 * r + 2) * cols + c)], x[at]);
      v.same("kept", i, t[gate], x[gate]);
      v.near("tanh", i, t[up], std::tanh(double{x[up]}), 1e-6, 1e-30);
      const double z = x[up], u = 0.7978845608028654 * (z + 0.044715 * z * z * z);
      v.near("gelu", i, l[up], z / (1.0 + std::exp(-2.0 * u)), 1e-6 * (1.0 + std::fabs(u)), 1e-30);
      v.near("sigmoid", i, s[up], 1.0 / (1.0 + std::exp(-z)), 1e-6, 1e-30);
    }
  }
}

inline void check_softmax(Verdicts& v, int64_t cols) {
  const int64_t rows = 5, count = rows * cols;
  v.begin("softmax of " + std::to_string(cols) + " columns");
  auto x = random_floats(count, 1, 0.0f, 5.0f);
  for (int64_t c = 0; c < cols; ++c) {
    x[static_cast<size_t>(cols + c)] += 200.0f;
    if (c > 0) x[static_cast<size_t>(2 * cols + c)] = -std::numeric_limits<float>::infinity();
  }
  x[static_cast<size_t>(4 * cols - 1)] = std::nanf("");
  const Buffer<float> d_x(x), out(count);
  const Buffer<BFloat16> out16(count);
  MUST(cuda::softmax_rows({d_x.data(), out.data(), rows, cols, 0.5f}, nullptr));
  MUST(cuda::softmax_rows({d_x.data(), out16.data(), rows, cols, 0.5f, DType::kBF16}, nullptr));
  MUST(cudaDeviceSynchronize());
  const auto p = out.values(v);
  const auto p16 = out16.values(v);
  for (int64_t r = 0; r < rows; ++r) {
    const float* const s = x.data() + r * cols;
    double most = -1e300, sum = 0.0;
    for (int64_t c = 0; c < cols; ++c) most = std::max(most, 0.5 * s[c]);
    for (int64_t c = 0; c < cols; ++c) sum += std::exp(0.5 * s[c] - most);
    for (int64_t c = 0; c < cols; ++c) {
      const auto i = static_cast<size_t>(r * cols + c);
      v.near("p", r * cols + c, p[i], std::exp(0.5 * s[c] - most) / sum, 5e-5, 1e-30);
      v.same("bf16 p", r * cols + c, static_cast<float>(p16[i]),
             static_cast<float>(BFloat16(p[i])));
    }
  }
}

inline void check_pictures(Verdicts& v, int64_t height, int64_t width, int64_t tile_height,
                           int64_t tile_width, int64_t row, int64_t column) {
  v.begin("picture " + std::to_string(tile_height) + " x " + std::to_string(tile_width));
  const auto tile = random_floats(tile_height * tile_width * 3, 1),
             before = random_floats(3 * height * width, 2);
  const auto rows = random_floats(tile_height, 3), columns = random_floats(tile_width, 4);
  const Buffer<float> d_tile(tile), blended(before), placed(before), d_rows(rows),
      d_columns(columns);
  cuda::PlacePictureParams p{d_tile.data(), blended.data(), d_rows.data(), d_columns.data(),
                             height,        width,          tile_height,   tile_width,
                             row,           column};
  MUST(cuda::place_picture(p, nullptr));
  p.picture = placed.data();
  p.row_share = p.column_share = nullptr;
  MUST(cuda::place_picture(p, nullptr));
  MUST(cudaDeviceSynchronize());
  const auto b = blended.values(v), q = placed.values(v);
  for (int64_t i = 0; i < 3 * height * width; ++i) {
    const auto at = static_cast<size_t>(i);
    const int64_t c = i / width / height, y = i / width % height - row, x = i % width - column;
    float blend = before[at], place = before[at];
    if (y >= 0 && y < tile_height && x >= 0 && x < tile_width) {
      place = tile[static_cast<size_t>((y * tile_width + x) * 3 + c)];
      blend += rows[static_cast<size_t>(y)] * columns[static_cast<size_t>(x)] * place;
    }
    v.same("blended", i, b[at], blend);
    v.same("placed", i, q[at], place);
  }
}

inline void check_elementwise(Verdicts& v) {
  for (int64_t count : {1, 3, 4, 4095, 4096, 4097, 100003}) {
    check_flat_passes(v, count, 0);
    check_flat_passes(v, count, 1);
  }
  for (int64_t cols : {1, 4, 30, 1024, 4096, 12288, 12289}) check_row_passes(v, cols);
  for (int64_t cols : {1, 5, 64, 1024, 4096, 4100, 16384, 16388, 16385, 65536})
    check_softmax(v, cols);
  check_pictures(v, 48, 64, 32, 40, 16, 24);
  check_pictures(v, 37, 51, 20, 31, 17, 19);
  check_pictures(v, 3, 1200, 2, 1100, 0, 60);
}

}  // namespace intaglio::bench
