#include <algorithm>
#include <cmath>
#include <vector>

#include "ops/elementwise_implementations.h"
#include "ops/ref/reference_math.h"

namespace intaglio::ref {
namespace {

double load(const void* x, DType dtype, int64_t i) {
  if (dtype == DType::kF32) return static_cast<double>(static_cast<const float*>(x)[i]);
  return static_cast<double>(static_cast<float>(static_cast<const BFloat16*>(x)[i]));
}

void store(void* x, DType dtype, int64_t i, double value) {
  if (dtype == DType::kF32) {
    static_cast<float*>(x)[i] = static_cast<float>(value);
  } else {
    static_cast<BFloat16*>(x)[i] = BFloat16(static_cast<float>(value));
  }
}

double value_of(Nonlinearity function, double x) {
  return visit_nonlinearity(function, [&](auto f) { return activate<ReferenceMath>(f, x); });
}

}  // namespace

Status convert_elements(const Context&, const ConvertElements& op) {
  for (int64_t i = 0; i < op.count; ++i)
    store(op.target, op.target_dtype, i, load(op.source, op.source_dtype, i));
  return {};
}

Status activate_in_place(const Context&, const ActivateInPlace& op) {
  for (int64_t r = 0; r < op.rows; ++r) {
    for (int64_t c = 0; c < op.cols; ++c) {
      float& x = op.x[r * op.ld + c];
      x = static_cast<float>(value_of(op.function, static_cast<double>(x)));
    }
  }
  return {};
}

Status add_in_place(const Context&, const AddInPlace& op) {
  for (int64_t i = 0; i < op.count; ++i)
    op.h[i] = static_cast<float>(static_cast<double>(op.h[i]) + load(op.y, op.y_dtype, i));
  return {};
}

Status gate_rows(const Context&, const GateRows& op) {
  for (int64_t r = 0; r < op.rows; ++r) {
    for (int64_t c = 0; c < op.cols; ++c) {
      const double gate = value_of(Nonlinearity::kSigmoid, load(op.gate, op.dtype, r * op.ld + c));
      const int64_t at = r * op.cols + c;
      store(op.x, op.dtype, at, load(op.x, op.dtype, at) * gate);
    }
  }
  return {};
}

Status scatter_tap(const Context&, const ScatterTap& op) {
  for (int64_t r = 0; r < op.rows; ++r) {
    for (int64_t c = 0; c < op.cols; ++c)
      op.features[r * op.ld + c * op.channel_stride + op.offset] = op.h[r * op.cols + c];
  }
  return {};
}

Status softmax_rows(const Context&, const SoftmaxRows& op) {
  std::vector<double> e(static_cast<size_t>(op.cols));
  for (int64_t r = 0; r < op.rows; ++r) {
    const float* const row = op.scores + r * op.cols;
    double most = -INFINITY, sum = 0.0;
    for (int64_t c = 0; c < op.cols; ++c)
      most = std::max(most, static_cast<double>(row[c]) * static_cast<double>(op.scale));
    for (int64_t c = 0; c < op.cols; ++c) {
      double& value = e[static_cast<size_t>(c)];
      value = std::exp(static_cast<double>(row[c]) * static_cast<double>(op.scale) - most);
      sum += value;
    }
    for (int64_t c = 0; c < op.cols; ++c)
      store(op.out, op.out_dtype, r * op.cols + c, e[static_cast<size_t>(c)] / sum);
  }
  return {};
}

Status epilogue_rows(const Context&, const EpilogueRows& op) {
  visit_epilogue(op.epilogue, [&](auto epilogue) {
    using Epilogue = decltype(epilogue);
    for (int64_t r = 0; r < op.rows; ++r) {
      for (int64_t c = 0; c < op.cols; ++c) {
        const int64_t at = op.product_stride() * r + c;
        double y = activate<ReferenceMath>(typename Epilogue::Function{},
                                           load(op.product, op.product_dtype, at));
        if (Epilogue::kGated) y *= load(op.product, op.product_dtype, at + op.cols);
        store(op.out, op.out_dtype, r * op.ldo + c, y);
      }
    }
  });
  return {};
}

Status place_tile(const Context&, const PlaceTile& op) {
  for (int64_t y = 0; y < op.tile_height; ++y) {
    for (int64_t x = 0; x < op.tile_width; ++x) {
      for (int64_t c = 0; c < 3; ++c) {
        float& value =
            op.picture[(c * op.height + op.first_row + y) * op.width + op.first_column + x];
        value = static_cast<float>(
            static_cast<double>(value) +
            static_cast<double>(op.row_share[y]) * static_cast<double>(op.column_share[x]) *
                static_cast<double>(op.tile[(y * op.tile_width + x) * 3 + c]));
      }
    }
  }
  return {};
}

}  // namespace intaglio::ref
