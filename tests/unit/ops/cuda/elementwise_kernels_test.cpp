// The small passes over floats, run on the CPU (emulation/lanes.h) against double loops: ragged ends, rows out of line, odd values, guards around every output.
#include "row_emulation.h"
// Kernels after the emulation, which defines what they are written in.
#include "ops/cuda/kernels/elementwise.cuh"

namespace intaglio::cuda {
namespace {

int64_t blocks_for(int64_t count) { return (count + kElementsOfBlock - 1) / kElementsOfBlock; }

class Elementwise : public testing::Test {
 protected:
  template <typename T>
  void fill(Memory<T>& x, float size = 1.0f) {
    for (int64_t i = 0; i < x.count(); ++i) x[i] = T(size * normal_value(random_));
    if (x.count() > 5) x[x.count() - 2] = T(std::nanf(""));
  }
  // Counts at the edges of a piece and of a block, aligned or not.
  template <typename Check>
  void each_count(Check&& check) {
    for (int64_t count : {1, 3, 4, 7, 4095, 4096, 4099, 9000}) {
      for (int shift : {0, 1}) {
        SCOPED_TRACE(testing::Message() << count << " shifted by " << shift);
        check(count, shift);
      }
    }
  }
  template <class Op>
  void run_flat(FlatParams p, bool aligned) {
    if (aligned) {
      run_grid(blocks_for(p.count), kElementThreads, [=] { flat_elements<Op, true>(p); });
    } else {
      run_grid(blocks_for(p.count), kElementThreads, [=] { flat_elements<Op, false>(p); });
    }
  }

  std::mt19937 random_{3};
};

void expect_bits(float got, float expected, int64_t i) {
  if (std::isnan(expected)) {
    ASSERT_TRUE(std::isnan(got)) << i;
  } else {
    ASSERT_EQ(got, expected) << i;
  }
}

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

TEST_F(Elementwise, SiluAndSumsInPlace) {
  each_count([&](int64_t count, int shift) {
    Memory<float> x(count, shift), y(count, shift);
    Memory<BFloat16> half(count, shift);
    fill(x, 4.0f), fill(y), fill(half);
    if (count > 3) x[0] = -200.0f, x[1] = 200.0f;
    const std::vector<float> before(x.data(), x.data() + count);
    FlatParams p;
    p.a = p.out = x.data();
    p.count = count;
    run_flat<SiluElements>(p, shift == 0);
    for (int64_t i = 0; i < count; ++i) {
      const double v = before[static_cast<size_t>(i)];
      ASSERT_TRUE(is_near(x[i], v / (1.0 + std::exp(-v)), 8, 1e-30)) << i;
    }
    std::copy(before.begin(), before.end(), x.data());
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

TEST_F(Elementwise, EulerStepReadsItsScalarsFromMemory) {
  each_count([&](int64_t count, int shift) {
    Memory<float> x(count, shift), conditional(count, shift), unconditional(count, shift);
    Memory<float> scalars(2);
    fill(x), fill(conditional), fill(unconditional);
    const float g = scalars[0] = 4.5f, delta = scalars[1] = -0.037f;
    const std::vector<float> before(x.data(), x.data() + count);
    FlatParams p;
    p.a = p.out = x.data();
    p.b = conditional.data();
    p.c = unconditional.data();
    p.count = count;
    p.guidance = scalars.data();
    p.delta = scalars.data() + 1;
    run_flat<EulerElements<true>>(p, shift == 0);
    for (int64_t i = 0; i < count; ++i) {
      const float v = g * conditional[i] + (1.0f - g) * unconditional[i];
      expect_bits(x[i], before[static_cast<size_t>(i)] - delta * v, i);
    }
    std::copy(before.begin(), before.end(), x.data());
    p.c = nullptr;
    p.guidance = nullptr;
    run_flat<EulerElements<false>>(p, shift == 0);
    for (int64_t i = 0; i < count; ++i)
      expect_bits(x[i], before[static_cast<size_t>(i)] - delta * conditional[i], i);
    EXPECT_TRUE(x.guards_are_whole());
  });
}

// One word tells which operand held an Inf or a NaN, wherever it lay; nothing is written where all is well.
TEST_F(Elementwise, EulerStepTellsWhatIsNotFinite) {
  each_count([&](int64_t count, int shift) {
    Memory<float> x(count, shift), conditional(count, shift), unconditional(count, shift);
    Memory<float> scalars(2);
    Memory<uint32_t> word(1);
    scalars[1] = -0.5f;
    FlatParams p;
    p.a = p.out = x.data();
    p.b = conditional.data();
    p.count = count;
    p.guidance = scalars.data();
    p.delta = scalars.data() + 1;
    p.not_finite = word.data();
    const auto found = [&](bool guided, float in_x, float in_c, float in_u, float guidance) {
      for (int64_t i = 0; i < count; ++i) x[i] = conditional[i] = unconditional[i] = 0.25f;
      const int64_t at = static_cast<int64_t>(random_() % static_cast<unsigned>(count));
      x[at] = in_x, conditional[at] = in_c, unconditional[at] = in_u;
      scalars[0] = guidance;
      word[0] = 64;
      p.c = guided ? unconditional.data() : nullptr;
      guided ? run_flat<EulerElements<true>>(p, shift == 0)
             : run_flat<EulerElements<false>>(p, shift == 0);
      return word[0] - 64;
    };
    const float inf = std::numeric_limits<float>::infinity(), nan = std::nanf("");
    EXPECT_EQ(found(true, 1, 1, 1, 7), 0u);
    EXPECT_EQ(found(true, 1, -inf, 1, 7), kConditionalNotFinite | kLatentsNotFinite);
    EXPECT_EQ(found(true, 1, nan, 1, 0), kConditionalNotFinite | kLatentsNotFinite);
    EXPECT_EQ(found(true, 1, 1, nan, 7), kUnconditionalNotFinite | kLatentsNotFinite);
    EXPECT_EQ(found(true, 1, 1, inf, 1), kUnconditionalNotFinite | kLatentsNotFinite);
    EXPECT_EQ(found(true, 1, inf, inf, 7),
              kConditionalNotFinite | kUnconditionalNotFinite | kLatentsNotFinite);
    EXPECT_EQ(found(true, 1, 3e38f, 1, 7), kLatentsNotFinite);
    EXPECT_EQ(found(true, nan, 1, 1, 7), kLatentsNotFinite);
    EXPECT_EQ(found(false, 1, 1, nan, 7), 0u);  // not read
    EXPECT_EQ(found(false, 1, inf, 1, 7), kConditionalNotFinite | kLatentsNotFinite);
    p.not_finite = nullptr;
    EXPECT_EQ(found(false, 1, inf, 1, 7), 0u);
    EXPECT_TRUE(x.guards_are_whole() && word.guards_are_whole());
  });
}

TEST_F(Elementwise, TanhOfTheGates) {
  for (int width : {4, 12, 1030, 5000}) {
    const int steps = 3;
    Memory<float> m(int64_t{steps} * 4 * width);
    fill(m, 2.0f);
    const std::vector<float> before(m.data(), m.data() + m.count());
    const TanhRowsParams p{
        .x = m.data() + width, .rows = 2 * steps, .cols = width, .ld = 2 * width};
    if (width % 4 == 0) {
      run_grid(p.rows, 256, [=] { tanh_rows_kernel<true>(p); });
    } else {
      run_grid(p.rows, 64, [=] { tanh_rows_kernel<false>(p); });
    }
    for (int64_t i = 0; i < m.count(); ++i) {
      const float old = before[static_cast<size_t>(i)];
      if (i / width % 2 == 0) {
        expect_bits(m[i], old, i);
      } else {
        ASSERT_TRUE(is_near(m[i], std::tanh(double{old}), 8, 1e-30)) << i;
      }
    }
    EXPECT_TRUE(m.guards_are_whole());
  }
}

TEST_F(Elementwise, SwigluOfHalves) {
  const auto check = [&]<typename X, typename Out, class XType, class OutType>(
                         X, Out, XType, OutType, int cols, int shift) {
    const int rows = 3;
    Memory<X> x(int64_t{rows} * 2 * cols, shift);
    Memory<Out> out(int64_t{rows} * cols, shift);
    fill(x, 3.0f);
    const SwigluRowsParams p{.x = x.data(), .out = out.data(), .rows = rows, .cols = cols};
    if (cols % 4 == 0 && shift == 0) {
      run_grid(rows, 128, [=] { swiglu_rows_kernel<XType, OutType, true>(p); });
    } else {
      run_grid(rows, 128, [=] { swiglu_rows_kernel<XType, OutType, false>(p); });
    }
    for (int64_t i = 0; i < out.count(); ++i) {
      const int64_t row = i / cols, column = i % cols;
      const double gate = as_float(x[row * 2 * cols + column]);
      const double up = as_float(x[row * 2 * cols + cols + column]);
      ASSERT_TRUE(is_near(as_float(out[i]), gate / (1.0 + std::exp(-gate)) * up,
                          sizeof(Out) == 4 ? 8 : 33000, 1e-30))
          << i;
    }
    EXPECT_TRUE(out.guards_are_whole());
  };
  for (int cols : {1, 4, 30, 512, 516, 3000}) {
    for (int shift : {0, 2}) {
      check(BFloat16{}, BFloat16{}, BF16{}, BF16{}, cols, shift);
      check(BFloat16{}, float{}, BF16{}, F32{}, cols, shift);
      check(float{}, BFloat16{}, F32{}, BF16{}, cols, shift);
      check(float{}, float{}, F32{}, F32{}, cols, shift);
    }
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

TEST_F(Elementwise, EmbeddingRowsOfEveryType) {
  const auto check = [&]<typename T, class Type>(T, Type, int cols) {
    const int vocabulary = 7;
    const std::vector<int32_t> wanted = {6, 0, 3, 3, 7, -1};
    const auto rows = static_cast<int64_t>(wanted.size());
    Memory<T> table(int64_t{vocabulary} * cols);
    Memory<int32_t> ids(rows);
    Memory<float> out(rows * cols);
    fill(table);
    std::copy(wanted.begin(), wanted.end(), ids.data());
    const GatherRowsParams p{.ids = ids.data(),
                             .table = table.data(),
                             .out = out.data(),
                             .rows = rows,
                             .cols = cols,
                             .vocabulary = vocabulary};
    if (cols % 4 == 0) {
      run_grid(rows, 64, [=] { gather_rows_kernel<Type, true>(p); });
    } else {
      run_grid(rows, 64, [=] { gather_rows_kernel<Type, false>(p); });
    }
    for (int64_t i = 0; i < out.count(); ++i) {
      const int32_t id = wanted[static_cast<size_t>(i / cols)];
      expect_bits(
          out[i],
          id >= 0 && id < vocabulary ? as_float(table[id * cols + i % cols]) : std::nanf(""), i);
    }
    EXPECT_TRUE(out.guards_are_whole());
  };
  for (int cols : {1, 5, 8, 1024, 1030}) {
    check(float{}, F32{}, cols);
    check(BFloat16{}, BF16{}, cols);
    check(Float16{}, F16{}, cols);
  }
}

TEST_F(Elementwise, TapsInterleave) {
  for (int cols : {3, 8, 1028}) {
    const int rows = 4, taps = 3;
    Memory<float> h(int64_t{rows} * cols), features(int64_t{rows} * cols * taps);
    for (int tap : {2, 0}) {
      fill(h);
      const ScatterTapParams p{.h = h.data(),
                               .features = features.data(),
                               .rows = rows,
                               .cols = cols,
                               .taps = taps,
                               .tap = tap};
      if (cols % 4 == 0) {
        run_grid(rows, 64, [=] { scatter_tap_kernel<true>(p); });
      } else {
        run_grid(rows, 64, [=] { scatter_tap_kernel<false>(p); });
      }
      for (int64_t i = 0; i < h.count(); ++i) expect_bits(features[i * taps + tap], h[i], i);
    }
    // Tap 1 was never written.
    for (int64_t i = 0; i < h.count(); ++i)
      ASSERT_EQ(std::bit_cast<uint32_t>(features[i * taps + 1]), 0xa5a5a5a5u);
    EXPECT_TRUE(features.guards_are_whole());
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
