// Launches of what works row by row, on the device double: the formulas as the launchers' headers
// say them, in plain loops.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "device/double/device_double.h"
#include "device/double/elements.h"
#include "ops/cuda/launch/elementwise.h"
#include "ops/cuda/launch/euler_step.h"
#include "ops/cuda/launch/group_norm.h"
#include "ops/cuda/launch/norm_rows.h"
#include "ops/cuda/launch/pixel_norm.h"
#include "ops/quantize.h"

namespace intaglio::cuda {
namespace {

cudaError_t launch(cudaStream_t stream, const char* name, std::function<void()> work) {
  return test::DeviceDouble::instance().launch(stream, name, std::move(work));
}

struct PlainMath {
  using Value = float;
  static float set(double x) { return static_cast<float>(x); }
  static float add(float a, float b) { return a + b; }
  static float multiply(float a, float b) { return a * b; }
  static float tanh(float x) { return std::tanh(x); }
  static float quotient(float x, float u) { return x / (1.0f + std::exp(-u)); }
};

float velocity_at(const PassesParams& p, int64_t i) {
  float v = p.weight[0] * p.velocity[0][i];
  for (int pass = 1; pass < p.passes; ++pass) v += p.weight[pass] * p.velocity[pass][i];
  return v;
}

// x [cols] -> norm of it as `n` says, into row `row` of its output.
void norm_row(const RowNorm& n, const float* x, int64_t row, int64_t cols) {
  double sum = 0.0, squares = 0.0;
  for (int64_t c = 0; c < cols; ++c) sum += x[c];
  const double mean = n.kind == RowNormKind::kLayer ? sum / static_cast<double>(cols) : 0.0;
  for (int64_t c = 0; c < cols; ++c)
    squares += (static_cast<double>(x[c]) - mean) * (static_cast<double>(x[c]) - mean);
  const double inverse = 1.0 / std::sqrt(squares / static_cast<double>(cols) + n.eps);
  std::vector<float> y(static_cast<size_t>(cols));
  for (int64_t c = 0; c < cols; ++c) {
    const auto normed = static_cast<float>((static_cast<double>(x[c]) - mean) * inverse);
    y[static_cast<size_t>(c)] = normed * (n.weight ? n.weight[c] : 1.0f) *
                                    (1.0f + (n.modulation ? n.modulation[c] : 0.0f)) +
                                (n.shift ? n.shift[c] : 0.0f);
  }
  if (n.out_type == DType::kI8) {
    const Activation out{DType::kI8, static_cast<int8_t*>(n.out) + row * cols, 1, cols,
                         n.scale + row};
    static_cast<void>(
        quantize_rows(Context{}, {y.data(), DType::kF32, Shape{1, cols}}, out,
                      {.rotation = n.group == 0 ? Rotation{} : Rotation::convrot(n.group)}));
    return;
  }
  const DType type = n.out_type == DType::kF32 ? DType::kF32 : DType::kBF16;
  for (int64_t c = 0; c < cols; ++c) store(n.out, type, row * cols + c, y[static_cast<size_t>(c)]);
}

}  // namespace

const char* norm_rows_refusal(const NormRowsParams& p) {
  return p.norm.out_type == DType::kF8E4M3 ? "the double has no e4m3" : nullptr;
}
cudaError_t norm_rows(const NormRowsParams& p, cudaStream_t stream) {
  return launch(stream, "norm_rows", [p] {
    std::vector<float> x(static_cast<size_t>(p.cols));
    for (int64_t row = 0; row < p.rows; ++row) {
      std::copy_n(p.x + row * p.cols, p.cols, x.data());
      norm_row(p.norm, x.data(), row, p.cols);
    }
  });
}

const char* residual_rows_refusal(const ResidualRowsParams& p) {
  return p.next.out_type == DType::kF8E4M3 ? "the double has no e4m3" : nullptr;
}
cudaError_t residual_rows(const ResidualRowsParams& p, cudaStream_t stream) {
  return launch(stream, "residual_rows", [p] {
    for (int64_t row = 0; row < p.rows; ++row) {
      double squares = 0.0;
      for (int64_t c = 0; c < p.cols; ++c) {
        const double y = load(p.y, p.y_type, row * p.cols + c);
        squares += y * y;
      }
      const double inverse = 1.0 / std::sqrt(squares / static_cast<double>(p.cols) + p.eps);
      float* const h = p.h + row * p.cols;
      for (int64_t c = 0; c < p.cols; ++c) {
        const float y = load(p.y, p.y_type, row * p.cols + c);
        const float n = p.normed ? static_cast<float>(y * inverse) : y;
        h[c] += p.update == RowUpdate::kAdd
                    ? y
                    : (p.gate ? p.gate[c] : 1.0f) * (n * (p.weight ? p.weight[c] : 1.0f));
      }
      if (p.next.out != nullptr) norm_row(p.next, h, row, p.cols);
    }
  });
}

const char* convert_elements_refusal(const void*, DType, const void*, DType, int64_t) {
  return nullptr;
}
cudaError_t convert_elements(const void* in, DType in_type, void* out, DType out_type,
                             int64_t count, cudaStream_t stream) {
  return launch(stream, "convert_elements", [=] {
    for (int64_t i = 0; i < count; ++i) store(out, out_type, i, load(in, in_type, i));
  });
}

const char* add_in_place_refusal(const float*, const void*, DType, int64_t) { return nullptr; }
cudaError_t add_in_place(float* h, const void* y, DType y_type, int64_t count,
                         cudaStream_t stream) {
  return launch(stream, "add_in_place", [=] {
    for (int64_t i = 0; i < count; ++i) h[i] += load(y, y_type, i);
  });
}

const char* euler_step_refusal(const EulerStepParams&) { return nullptr; }
cudaError_t euler_step(const EulerStepParams& p, cudaStream_t stream) {
  return launch(stream, "euler_step", [p] {
    for (int64_t i = 0; i < p.v.count; ++i) {
      const int64_t row = p.factor_cols == 0 ? 0 : i / p.factor_cols;
      p.x[i] -= p.delta * ((p.factor ? p.factor[row] : 1.0f) * velocity_at(p.v, i));
      if (p.not_finite == nullptr) continue;
      for (int pass = 0; pass < p.v.passes; ++pass)
        if (!std::isfinite(p.v.velocity[pass][i])) *p.not_finite |= 1u << pass;
      if (!std::isfinite(p.x[i])) *p.not_finite |= kLatentsNotFinite;
    }
  });
}

const char* limit_velocity_norm_refusal(const LimitVelocityNormParams&) { return nullptr; }
cudaError_t limit_velocity_norm(const LimitVelocityNormParams& p, cudaStream_t stream) {
  return launch(stream, "limit_velocity_norm", [p] {
    double of_reference = 0.0, of_sum = 0.0;
    for (int64_t i = 0; i < p.v.count; ++i) {
      of_reference += std::pow(static_cast<double>(p.v.velocity[p.reference][i]), 2);
      of_sum += std::pow(static_cast<double>(velocity_at(p.v, i)), 2);
    }
    const double ratio = p.limit * std::sqrt(of_reference / of_sum);
    *p.factor = of_sum == 0.0 || ratio >= 1.0 ? 1.0f : static_cast<float>(ratio);
  });
}

const char* match_row_norms_refusal(const MatchRowNormsParams&) { return nullptr; }
cudaError_t match_row_norms(const MatchRowNormsParams& p, cudaStream_t stream) {
  return launch(stream, "match_row_norms", [p] {
    for (int64_t row = 0; row < p.rows; ++row) {
      double of_reference = 0.0, of_sum = 0.0;
      for (int64_t i = row * p.cols; i < (row + 1) * p.cols; ++i) {
        of_reference += std::pow(static_cast<double>(p.v.velocity[p.reference][i]), 2);
        of_sum += std::pow(static_cast<double>(velocity_at(p.v, i)), 2);
      }
      const double ratio = std::sqrt(of_reference / of_sum);
      p.factor[row] = of_sum == 0.0 ? 1.0f : static_cast<float>(ratio);
    }
  });
}

const char* activate_rows_refusal(const ActivateRowsParams&) { return nullptr; }
cudaError_t activate_rows(const ActivateRowsParams& p, cudaStream_t stream) {
  constexpr const char* kNames[] = {"silu_rows", "tanh_rows", "gelu_tanh_rows", "sigmoid_rows"};
  return launch(stream, kNames[static_cast<int>(p.function)], [p] {
    for (int64_t row = 0; row < p.rows; ++row) {
      for (int64_t c = 0; c < p.cols; ++c) {
        float& x = p.x[row * p.ld + c];
        x = visit_nonlinearity(p.function, [&](auto f) { return activate<PlainMath>(f, x); });
      }
    }
  });
}

const char* epilogue_rows_refusal(const EpilogueRowsParams&) { return nullptr; }
cudaError_t epilogue_rows(const EpilogueRowsParams& p, cudaStream_t stream) {
  return launch(stream, "epilogue_rows", [p] {
    visit_epilogue(p.epilogue, [&](auto epilogue) {
      using Epilogue = decltype(epilogue);
      for (int64_t row = 0; row < p.rows; ++row) {
        for (int64_t c = 0; c < p.cols; ++c) {
          const float x = load(p.x, p.x_type, row * p.ldx + c);
          float y = activate<PlainMath>(typename Epilogue::Function{}, x);
          if (Epilogue::kGated) y *= load(p.x, p.x_type, row * p.ldx + p.cols + c);
          store(p.out, p.out_type, row * p.ldo + c, y);
        }
      }
    });
  });
}

cudaError_t add_bias_rows(const AddBiasRowsParams& p, cudaStream_t stream) {
  return launch(stream, "add_bias_rows", [p] {
    for (int64_t row = 0; row < p.rows; ++row)
      for (int64_t c = 0; c < p.cols; ++c)
        store(p.x, p.type, row * p.cols + c, load(p.x, p.type, row * p.cols + c) + p.bias[c]);
  });
}

const char* gate_rows_refusal(const GateRowsParams&) { return nullptr; }
cudaError_t gate_rows(const GateRowsParams& p, cudaStream_t stream) {
  return launch(stream, "gate_rows", [p] {
    for (int64_t row = 0; row < p.rows; ++row) {
      for (int64_t c = 0; c < p.cols; ++c) {
        const float gate = activate<PlainMath>(Sigmoid{}, load(p.gate, p.type, row * p.ld + c));
        store(p.x, p.type, row * p.cols + c, load(p.x, p.type, row * p.cols + c) * gate);
      }
    }
  });
}

const char* scatter_tap_refusal(const ScatterTapParams&) { return nullptr; }
cudaError_t scatter_tap(const ScatterTapParams& p, cudaStream_t stream) {
  return launch(stream, "scatter_tap", [p] {
    for (int64_t row = 0; row < p.rows; ++row)
      for (int64_t c = 0; c < p.cols; ++c)
        p.features[row * p.ld + c * p.channel_stride + p.offset] = p.h[row * p.cols + c];
  });
}

const char* softmax_rows_refusal(const SoftmaxRowsParams&) { return nullptr; }
cudaError_t softmax_rows(const SoftmaxRowsParams& p, cudaStream_t stream) {
  return launch(stream, "softmax_rows", [p] {
    std::vector<double> e(static_cast<size_t>(p.cols));
    for (int64_t row = 0; row < p.rows; ++row) {
      const float* const x = p.scores + row * p.cols;
      const float most = *std::max_element(x, x + p.cols);
      double sum = 0.0;
      for (int64_t c = 0; c < p.cols; ++c)
        sum += e[static_cast<size_t>(c)] =
            std::exp(static_cast<double>(p.scale) * (static_cast<double>(x[c]) - most));
      for (int64_t c = 0; c < p.cols; ++c)
        store(p.out, p.out_type, row * p.cols + c,
              static_cast<float>(e[static_cast<size_t>(c)] / sum));
    }
  });
}

const char* place_picture_refusal(const PlacePictureParams&) { return nullptr; }
cudaError_t place_picture(const PlacePictureParams& p, cudaStream_t stream) {
  return launch(stream, "place_picture", [p] {
    for (int64_t y = 0; y < p.tile_height; ++y)
      for (int64_t x = 0; x < p.tile_width; ++x)
        for (int64_t c = 0; c < 3; ++c)
          p.picture[(c * p.height + p.first_row + y) * p.width + p.first_column + x] +=
              p.row_share[y] * p.column_share[x] * p.tile[(y * p.tile_width + x) * 3 + c];
  });
}

const char* pixel_norm_refusal(const PixelNormParams&) { return nullptr; }
cudaError_t pixel_norm(const PixelNormParams& p, cudaStream_t stream) {
  return launch(stream, "pixel_norm", [p] {
    for (int64_t pixel = 0; pixel < p.pixels; ++pixel) {
      const int64_t first = pixel * p.channels;
      double squares = 0.0;
      for (int64_t i = first; i < first + p.channels; ++i)
        squares += std::pow(static_cast<double>(load(p.x, p.type, i)), 2);
      const auto norm = static_cast<float>(std::sqrt(squares));
      const float factor = p.root / (norm < p.least ? p.least : norm);
      for (int64_t c = 0; c < p.channels; ++c) {
        const float y = load(p.x, p.type, first + c) * factor * p.weight[c];
        store(p.y, p.type, first + c, p.silu ? activate<PlainMath>(Silu{}, y) : y);
      }
    }
  });
}

const char* group_norm_sizes_refusal(const GroupNormParams&) { return nullptr; }
const char* group_norm_refusal(const GroupNormParams&) { return nullptr; }
size_t group_norm_workspace_bytes(const GroupNormParams& p) {
  return static_cast<size_t>(p.groups) * 2 * sizeof(double);
}
cudaError_t group_norm(const GroupNormParams& p, cudaStream_t stream) {
  return launch(stream, "group_norm", [p] {
    const int64_t width = p.channels / p.groups;
    auto* const sums = static_cast<double*>(p.workspace);  // mean and deviation of every group
    for (int64_t g = 0; g < p.groups; ++g) {
      double sum = 0.0, squares = 0.0;
      for (int64_t i = 0; i < p.pixels * width; ++i) {
        const double x = load(p.x, p.type, i / width * p.channels + g * width + i % width);
        sum += x;
        squares += x * x;
      }
      const auto count = static_cast<double>(p.pixels * width);
      sums[2 * g] = sum / count;
      sums[2 * g + 1] =
          std::sqrt(squares / count - sums[2 * g] * sums[2 * g] + static_cast<double>(p.eps));
    }
    for (int64_t i = 0; i < p.pixels * p.channels; ++i) {
      const int64_t c = i % p.channels, g = c / width;
      const double x = load(p.x, p.type, i);
      const auto y =
          static_cast<float>((x - sums[2 * g]) / sums[2 * g + 1] * p.weight[c] + p.bias[c]);
      store(p.y, p.type, i, p.silu ? activate<PlainMath>(Silu{}, y) : y);
    }
  });
}

}  // namespace intaglio::cuda
