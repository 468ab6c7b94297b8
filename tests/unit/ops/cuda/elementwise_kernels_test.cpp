// The small passes over floats, run on the CPU (emulation/lanes.h) against double loops: ragged
// ends, rows out of line, odd values, guards around every output.
#include "elementwise_emulation.h"
#include "ops/ref/reference_math.h"

namespace intaglio::cuda {
namespace {

class Elementwise : public EmulatedElements {
 protected:
  template <class Op>
  void run_flat(FlatParams p, bool aligned) {
    if (aligned) {
      run_grid(blocks_for(p.count), kElementThreads, [=] { flat_elements<Op, true>(p); });
    } else {
      run_grid(blocks_for(p.count), kElementThreads, [=] { flat_elements<Op, false>(p); });
    }
  }
};

TEST_F(Elementwise, ConversionsRoundToNearestEven) {
  each_count([&](int64_t count, int shift) {
    Memory<float> x(count, shift), back(count, shift);
    Memory<BFloat16> half(count, shift);
    Memory<Float16> half16(count, shift);
    fill(x);
    if (count > 3) x[0] = 1.00390625f, x[1] = 1.01171875f, x[2] = 3.4e38f;  // ties, overflow
    FlatParams p;
    p.a = x.data();
    p.out = half.data();
    p.count = count;
    run_flat<ConvertElements<F32, BF16>>(p, shift == 0);
    for (int64_t i = 0; i < count; ++i) expect_bits(as_float(half[i]), as_float(BFloat16(x[i])), i);
    p.a = half.data();
    p.out = back.data();
    run_flat<ConvertElements<BF16, F32>>(p, shift == 0);
    for (int64_t i = 0; i < count; ++i) expect_bits(back[i], as_float(half[i]), i);
    fill(half16);
    p.a = half16.data();
    run_flat<ConvertElements<F16, F32>>(p, shift == 0);
    for (int64_t i = 0; i < count; ++i) expect_bits(back[i], as_float(half16[i]), i);
    EXPECT_TRUE(half.guards_are_whole() && back.guards_are_whole());
  });
}

TEST_F(Elementwise, SumsInPlace) {
  each_count([&](int64_t count, int shift) {
    Memory<float> x(count, shift), y(count, shift);
    Memory<BFloat16> half(count, shift);
    fill(x), fill(y), fill(half);
    const std::vector<float> before(x.data(), x.data() + count);
    FlatParams p;
    p.a = p.out = x.data();
    p.count = count;
    p.b = y.data();
    run_flat<AddElements<F32>>(p, shift == 0);
    for (int64_t i = 0; i < count; ++i) expect_bits(x[i], before[static_cast<size_t>(i)] + y[i], i);
    std::copy(before.begin(), before.end(), x.data());
    p.b = half.data();
    run_flat<AddElements<BF16>>(p, shift == 0);
    for (int64_t i = 0; i < count; ++i)
      expect_bits(x[i], before[static_cast<size_t>(i)] + as_float(half[i]), i);
    EXPECT_TRUE(x.guards_are_whole());
  });
}

template <class Function>
void run_activate(const ActivateRowsParams& p, bool aligned) {
  const int64_t blocks = p.rows * blocks_of_row(p.cols);
  if (aligned) {
    run_grid(blocks, 256, [=] { activate_rows_kernel<Function, true>(p); });
  } else {
    run_grid(blocks, 64, [=] { activate_rows_kernel<Function, false>(p); });
  }
}

// A part of a row of four, as the gates of AdaLN are; rows of several blocks.
TEST_F(Elementwise, ActivationsOfABlockOfColumns) {
  const auto check = [&]<class Function>(int width, auto&& formula) {
    const int rows = 2;
    Memory<float> m(int64_t{rows} * 4 * width);
    fill(m, 3.0f);
    m[3 * width] = -200.0f, m[7 * width] = 200.0f;
    const std::vector<float> before(m.data(), m.data() + m.count());
    const ActivateRowsParams p{
        .x = m.data() + 3 * width, .rows = rows, .cols = width, .ld = 4 * width};
    run_activate<Function>(p, width % 4 == 0);
    for (int64_t i = 0; i < m.count(); ++i) {
      const float old = before[static_cast<size_t>(i)];
      if (i / width % 4 != 3) {
        expect_bits(m[i], old, i);
      } else {
        const double z = old;
        // GELU's argument has a few roundings, a relative error of exp as large as it is.
        const double steps = std::is_same_v<Function, GeluTanh> ? 8 + 8 * std::fabs(z * z * z) : 8;
        ASSERT_TRUE(is_near(m[i], formula(z), steps, 1e-30)) << i << ": of " << old;
      }
    }
    EXPECT_TRUE(m.guards_are_whole());
  };
  for (int width : {1, 4, 12, 1030, 4096, 5000, 8196}) {
    SCOPED_TRACE(width);
    check.operator()<Silu>(width, [](double z) { return z / (1.0 + std::exp(-z)); });
    check.operator()<Tanh>(width, [](double z) { return std::tanh(z); });
    check.operator()<Sigmoid>(width, [](double z) { return 1.0 / (1.0 + std::exp(-z)); });
    check.operator()<GeluTanh>(width, [](double z) {
      const double u = 0.7978845608028654 * (z + 0.044715 * z * z * z);
      return z / (1.0 + std::exp(-2.0 * u));
    });
  }
}

TEST_F(Elementwise, EpiloguesOfProducts) {
  const auto check = [&]<class Epilogue, typename X, typename Out, class XType, class OutType>(
                         Epilogue, X, Out, XType, OutType, int cols, int shift, int gap = 0) {
    const int rows = 3, parts = Epilogue::kGated ? 2 : 1;
    const int ldx = parts * cols + gap, ldo = cols + 2 * gap;
    Memory<X> x(int64_t{rows} * ldx, shift);
    Memory<Out> out(int64_t{rows} * ldo, shift);
    fill(x, 3.0f);
    for (int64_t i = 0; i < out.count(); ++i) out[i] = Out(-7.0f);
    const EpilogueRowsParams p{
        .x = x.data(), .out = out.data(), .rows = rows, .cols = cols, .ldx = ldx, .ldo = ldo};
    if (cols % 4 == 0 && gap % 4 == 0 && shift == 0) {
      run_grid(rows, 128, [=] { epilogue_rows_kernel<Epilogue, XType, OutType, true>(p); });
    } else {
      run_grid(rows, 128, [=] { epilogue_rows_kernel<Epilogue, XType, OutType, false>(p); });
    }
    for (int64_t i = 0; i < out.count(); ++i) {
      const int64_t row = i / ldo, column = i % ldo;
      if (column >= cols) {
        ASSERT_EQ(as_float(out[i]), -7.0f) << i;
        continue;
      }
      const double z = as_float(x[row * ldx + column]);
      double expected = activate<ReferenceMath>(typename Epilogue::Function{}, z);
      if (Epilogue::kGated) expected *= as_float(x[row * ldx + cols + column]);
      // GELU's argument has a few roundings, a relative error of exp as large as it is.
      const bool gelu = std::is_same_v<typename Epilogue::Function, GeluTanh>;
      const double steps = sizeof(Out) != 4 ? 33000 : gelu ? 8 + 8 * std::fabs(z * z * z) : 8;
      ASSERT_TRUE(is_near(as_float(out[i]), expected, steps, 1e-30)) << i << ": of " << z;
    }
    EXPECT_TRUE(out.guards_are_whole());
  };
  for (const GemmEpilogue epilogue : kGemmEpilogues) {
    if (!needs_pass(epilogue)) continue;
    SCOPED_TRACE(epilogue_name(epilogue));
    visit_epilogue(epilogue, [&](auto type) {
      for (int cols : {1, 4, 30, 512, 516, 3000}) {
        for (int shift : {0, 2}) {
          check(type, BFloat16{}, BFloat16{}, BF16{}, BF16{}, cols, shift);
          check(type, BFloat16{}, float{}, BF16{}, F32{}, cols, shift);
          check(type, float{}, BFloat16{}, F32{}, BF16{}, cols, shift);
          check(type, float{}, float{}, F32{}, F32{}, cols, shift);
          check(type, BFloat16{}, BFloat16{}, BF16{}, BF16{}, cols, shift, 8);
          check(type, BFloat16{}, float{}, BF16{}, F32{}, cols, shift, 3);
        }
      }
    });
  }
}

TEST_F(Elementwise, BiasesOfRows) {
  const auto check = [&]<typename T, class Type>(T, Type, int cols, int shift) {
    const int rows = 3;
    Memory<T> x(int64_t{rows} * cols, shift);
    Memory<float> bias(cols, shift);
    fill(x), fill(bias);
    std::vector<float> before;
    for (int64_t i = 0; i < x.count(); ++i) before.push_back(as_float(x[i]));
    const AddBiasRowsParams p{.x = x.data(), .bias = bias.data(), .rows = rows, .cols = cols};
    if (cols % 4 == 0 && shift == 0) {
      run_grid(rows, 128, [=] { add_bias_rows_kernel<Type, true>(p); });
    } else {
      run_grid(rows, 128, [=] { add_bias_rows_kernel<Type, false>(p); });
    }
    for (int64_t i = 0; i < x.count(); ++i)
      expect_bits(as_float(x[i]), as_float(T(before[static_cast<size_t>(i)] + bias[i % cols])), i);
    EXPECT_TRUE(x.guards_are_whole() && bias.guards_are_whole());
  };
  for (int cols : {1, 4, 30, 512, 516, 3000}) {
    for (int shift : {0, 2}) {
      check(BFloat16{}, BF16{}, cols, shift);
      check(float{}, F32{}, cols, shift);
    }
  }
}

// Gates that are some columns of wider rows.
TEST_F(Elementwise, GatesOfRows) {
  const auto check = [&]<typename T, class Type>(T, Type, int cols, int shift) {
    const int rows = 3, ld = 2 * cols;
    Memory<T> x(int64_t{rows} * cols, shift), gate(int64_t{rows} * ld, shift);
    fill(x), fill(gate, 4.0f);
    std::vector<float> before;
    for (int64_t i = 0; i < x.count(); ++i) before.push_back(as_float(x[i]));
    const GateRowsParams p{
        .x = x.data(), .gate = gate.data(), .rows = rows, .cols = cols, .ld = ld};
    if (cols % 4 == 0 && shift == 0) {
      run_grid(rows, 128, [=] { gate_rows_kernel<Type, true>(p); });
    } else {
      run_grid(rows, 128, [=] { gate_rows_kernel<Type, false>(p); });
    }
    for (int64_t i = 0; i < x.count(); ++i) {
      const double g = as_float(gate[i / cols * ld + i % cols]);
      const double expected = double{before[static_cast<size_t>(i)]} / (1.0 + std::exp(-g));
      ASSERT_TRUE(is_near(as_float(x[i]), expected, sizeof(T) == 4 ? 8 : 33000, 1e-30)) << i;
    }
    EXPECT_TRUE(x.guards_are_whole() && gate.guards_are_whole());
  };
  for (int cols : {1, 4, 30, 512, 3000}) {
    for (int shift : {0, 2}) {
      check(BFloat16{}, BF16{}, cols, shift);
      check(float{}, F32{}, cols, shift);
    }
  }
}

// Interleaved and side by side; what is not of the tap stays as it was.
TEST_F(Elementwise, TapsLieWhereTheStridesSay) {
  for (int cols : {3, 8, 1028}) {
    const int rows = 4, taps = 3;
    for (const bool beside : {false, true}) {
      Memory<float> h(int64_t{rows} * cols), features(int64_t{rows} * cols * taps);
      const auto place = [&](int tap, int64_t i) {
        const int64_t row = i / cols, c = i % cols;
        return row * cols * taps + (beside ? tap * int64_t{cols} + c : c * taps + tap);
      };
      for (int tap : {2, 0}) {
        fill(h);
        const ScatterTapParams p{.h = h.data(),
                                 .features = features.data(),
                                 .rows = rows,
                                 .cols = cols,
                                 .ld = int64_t{cols} * taps,
                                 .channel_stride = beside ? 1 : taps,
                                 .offset = beside ? tap * int64_t{cols} : tap};
        if (cols % 4 != 0) {
          run_grid(rows, 64, [=] { scatter_tap_kernel<false, false>(p); });
        } else if (beside && tap == 0) {
          run_grid(rows, 64, [=] { scatter_tap_kernel<true, true>(p); });
        } else {
          run_grid(rows, 64, [=] { scatter_tap_kernel<true, false>(p); });
        }
        for (int64_t i = 0; i < h.count(); ++i) expect_bits(features[place(tap, i)], h[i], i);
      }
      // Tap 1 was never written.
      for (int64_t i = 0; i < h.count(); ++i)
        ASSERT_EQ(std::bit_cast<uint32_t>(features[place(1, i)]), 0xa5a5a5a5u);
      EXPECT_TRUE(features.guards_are_whole());
    }
  }
}

template <class Out>
void run_softmax(const SoftmaxRowsParams& p, bool streamed, bool aligned) {
  if (!aligned) {
    run_grid(p.rows, 96, [=] { streamed_softmax_rows<Out, false>(p); });
  } else if (streamed) {
    run_grid(p.rows, 96, [=] { streamed_softmax_rows<Out, true>(p); });
  } else if (p.cols <= HeldSoftmaxConfig<1>::kColumns) {
    run_grid(p.rows, HeldSoftmaxConfig<1>::kThreads, [=] { held_softmax_rows<Out, 1>(p); });
  } else if (p.cols <= HeldSoftmaxConfig<4>::kColumns) {
    run_grid(p.rows, HeldSoftmaxConfig<4>::kThreads, [=] { held_softmax_rows<Out, 4>(p); });
  } else {
    run_grid(p.rows, HeldSoftmaxConfig<8>::kThreads, [=] { held_softmax_rows<Out, 8>(p); });
  }
}

TEST_F(Elementwise, SoftmaxOfRows) {
  for (int cols : {1, 3, 4, 100, 1024, 1500, 4096, 4100, 16384}) {
    for (bool streamed : {false, true}) {
      SCOPED_TRACE(cols);
      const bool aligned = cols % 4 == 0;
      const int64_t rows = cols > 4096 ? 2 : 6, count = rows * cols;
      const float scale = 0.7f, infinity = std::numeric_limits<float>::infinity();
      Memory<float> scores(count), out(count);
      Memory<BFloat16> half(count);
      for (int64_t i = 0; i < count; ++i) {
        const int64_t row = i / cols, column = i % cols;
        scores[i] = 5.0f * normal_value(random_) + (row == 1 ? 1000.0f : 0.0f);
        if (row == 2 && column == cols - 1) scores[i] = std::nanf("");
        if (row == 3 && column == 0) scores[i] = infinity;
        if (row == 4 && column % 2 == 1) scores[i] = -infinity;
        if (row == 5) scores[i] = -infinity;
      }
      SoftmaxRowsParams p{
          .scores = scores.data(), .out = half.data(), .rows = rows, .cols = cols, .scale = scale};
      run_softmax<BF16>(p, streamed, aligned);
      p.out = out.data();
      run_softmax<F32>(p, streamed, aligned);
      for (int64_t row = 0; row < rows; ++row) {
        const float* const s = scores.data() + row * cols;
        const bool broken = row == 2 || row == 3 || row == 5;
        double most = -1e300, sum = 0.0;
        for (int64_t c = 0; c < cols; ++c) most = std::max(most, double{s[c]} * double{scale});
        for (int64_t c = 0; c < cols; ++c) sum += std::exp(double{s[c]} * double{scale} - most);
        for (int64_t c = 0; c < cols; ++c) {
          const double expected =
              broken ? std::nan("") : std::exp(double{s[c]} * double{scale} - most) / sum;
          // The scaled score is rounded: 2^-24 of a thousand is a relative error of exp.
          ASSERT_TRUE(is_near(out[row * cols + c], expected, row == 1 ? 2000 : 100, 1e-30))
              << row << ", " << c << ": " << out[row * cols + c] << " for " << expected;
          if (!broken) {
            ASSERT_EQ(half[row * cols + c].bits, BFloat16(out[row * cols + c]).bits)
                << row << ", " << c;
          }
        }
      }
      // In place gives the same.
      p.out = scores.data();
      run_softmax<F32>(p, streamed, aligned);
      ASSERT_EQ(std::memcmp(scores.data(), out.data(), static_cast<size_t>(count) * 4), 0);
      EXPECT_TRUE(out.guards_are_whole() && half.guards_are_whole() && scores.guards_are_whole());
    }
  }
}

TEST_F(Elementwise, PicturesAreTurnedAndBlended) {
  struct Placement {
    int height, width, tile_height, tile_width, first_row, first_column;
  };
  for (const Placement& at : {Placement{5, 8, 5, 8, 0, 0}, Placement{9, 24, 4, 12, 5, 8},
                              Placement{6, 7, 3, 5, 2, 1}, Placement{3, 1200, 2, 1100, 0, 60}}) {
    Memory<float> tile(int64_t{at.tile_height} * at.tile_width * 3);
    Memory<float> picture(int64_t{3} * at.height * at.width);
    Memory<float> row_share(at.tile_height), column_share(at.tile_width);
    fill(tile), fill(picture), fill(row_share), fill(column_share);
    for (bool blend : {true, false}) {
      const std::vector<float> before(picture.data(), picture.data() + picture.count());
      PlacePictureParams p{.tile = tile.data(),
                           .picture = picture.data(),
                           .height = at.height,
                           .width = at.width,
                           .tile_height = at.tile_height,
                           .tile_width = at.tile_width,
                           .first_row = at.first_row,
                           .first_column = at.first_column};
      if (blend) p.row_share = row_share.data(), p.column_share = column_share.data();
      const bool vector = at.tile_width % 4 == 0 && at.width % 4 == 0 && at.first_column % 4 == 0;
      run_grid(at.tile_height, 64, [=] {
        if (vector) {
          blend ? place_picture_kernel<true, true>(p) : place_picture_kernel<true, false>(p);
        } else {
          blend ? place_picture_kernel<false, true>(p) : place_picture_kernel<false, false>(p);
        }
      });
      for (int64_t i = 0; i < picture.count(); ++i) {
        const int64_t c = i / at.width / at.height;
        const int64_t y = i / at.width % at.height - at.first_row,
                      x = i % at.width - at.first_column;
        float expected = before[static_cast<size_t>(i)];
        if (y >= 0 && y < at.tile_height && x >= 0 && x < at.tile_width) {
          const float value = tile[(y * at.tile_width + x) * 3 + c];
          expected = blend ? expected + row_share[y] * column_share[x] * value : value;
        }
        expect_bits(picture[i], expected, i);
      }
    }
    EXPECT_TRUE(picture.guards_are_whole());
  }
}

}  // namespace
}  // namespace intaglio::cuda
