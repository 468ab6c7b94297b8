// Row norms in plain loops: statistics and elements in float64, each element rounded to float once.
#include <cmath>
#include <vector>

#include "core/parallel_tasks.h"
#include "ops/cpu/quantize_kernels.h"
#include "ops/norm_implementations.h"

namespace intaglio {
namespace {

struct RowStatistics {
  double mean = 0.0;
  double inverse = 0.0;  // 1 / sqrt(mean(x^2) + eps), or of the variance
};

template <typename Load>
RowStatistics row_statistics(NormKind kind, int64_t cols, float eps, Load&& load) {
  RowStatistics s;
  if (kind == NormKind::kLayer) {
    for (int64_t c = 0; c < cols; ++c) s.mean += load(c);
    s.mean /= static_cast<double>(cols);
  }
  double squares = 0.0;
  for (int64_t c = 0; c < cols; ++c) {
    const double d = load(c) - s.mean;
    squares += d * d;
  }
  s.inverse = 1.0 / std::sqrt(squares / static_cast<double>(cols) + static_cast<double>(eps));
  return s;
}

void norm_row(const NormDesc& desc, const NormArgs& args, const float* x, int64_t row) {
  const RowStatistics s = row_statistics(desc.kind, desc.cols, desc.eps,
                                         [&](int64_t c) { return static_cast<double>(x[c]); });
  const auto value = [&](int64_t c) {
    double y = (static_cast<double>(x[c]) - s.mean) * s.inverse;
    if (args.weight != nullptr) y *= static_cast<double>(args.weight[c]);
    if (args.modulation != nullptr) y *= 1.0 + static_cast<double>(args.modulation[c]);
    if (args.shift != nullptr) y += static_cast<double>(args.shift[c]);
    return static_cast<float>(y);
  };
  const int64_t offset = row * desc.cols;
  switch (desc.out_dtype) {
    case DType::kI8: {
      std::vector<float> out(static_cast<size_t>(desc.cols));
      for (int64_t c = 0; c < desc.cols; ++c) out[static_cast<size_t>(c)] = value(c);
      if (desc.rotation.kind != RotationKind::kNone)
        rotate_row(out.data(), desc.cols, desc.rotation.group);
      args.out.scale_row[row] =
          ref_quantize_row_f32(out.data(), desc.cols, args.out.as<int8_t>() + offset);
      break;
    }
    case DType::kBF16:
      for (int64_t c = 0; c < desc.cols; ++c)
        args.out.as<BFloat16>()[offset + c] = BFloat16(value(c));
      break;
    default:
      for (int64_t c = 0; c < desc.cols; ++c) args.out.as<float>()[offset + c] = value(c);
  }
}

}  // namespace

Status ref_norm(const Context& context, const NormDesc& desc, const NormArgs& args) {
  INTAGLIO_TRY(parallel_tasks(context, desc.rows, norm_grain(desc.cols),
                              [&](int64_t begin, int64_t end, int) {
                                for (int64_t row = begin; row < end; ++row)
                                  norm_row(desc, args, args.x + row * desc.cols, row);
                              }));
  return {};
}

Status ref_gated_residual(const Context& context, const NormDesc& desc,
                          const GatedResidualArgs& args, const NormArgs* next,
                          const NormDesc* next_desc) {
  INTAGLIO_TRY(parallel_tasks(
      context, desc.rows, norm_grain(desc.cols), [&](int64_t begin, int64_t end, int) {
        for (int64_t row = begin; row < end; ++row) {
          const int64_t offset = row * desc.cols;
          const auto y = [&](int64_t c) {
            return args.y_dtype == DType::kBF16
                       ? static_cast<double>(
                             static_cast<float>(static_cast<const BFloat16*>(args.y)[offset + c]))
                       : static_cast<double>(static_cast<const float*>(args.y)[offset + c]);
          };
          double inverse = 1.0;
          if (desc.kind == NormKind::kRms)
            inverse = row_statistics(NormKind::kRms, desc.cols, desc.eps, y).inverse;
          const auto factor = [](const float* vector, int64_t c) {
            return vector == nullptr ? 1.0 : static_cast<double>(vector[c]);
          };
          float* h = args.h + offset;
          for (int64_t c = 0; c < desc.cols; ++c) {
            const double update = y(c) * inverse * factor(args.weight, c) * factor(args.gate, c);
            h[c] = static_cast<float>(static_cast<double>(h[c]) + update);
          }
          if (next != nullptr) norm_row(*next_desc, *next, h, row);
        }
      }));
  return {};
}

}  // namespace intaglio
