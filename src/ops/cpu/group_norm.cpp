// Group norm: statistics a channel over chunks of rows, folded in float64 in a fixed order (the
// same bits for any thread count), then one multiply-add a value.
#include <algorithm>
#include <cmath>

#include "core/parallel_tasks.h"
#include "ops/cpu/group_norm_implementations.h"

namespace intaglio::cpu {
namespace {

constexpr int64_t kRowsPerSum = 64;  // rows summed in float32
constexpr int64_t kMaxChunks = 64;

int64_t chunk_rows(const GroupNormDesc& d) {
  const int64_t rows = (d.pixels + kMaxChunks - 1) / kMaxChunks;
  return (rows + kRowsPerSum - 1) / kRowsPerSum * kRowsPerSum;
}

int64_t chunk_count(const GroupNormDesc& d) {
  return (d.pixels + chunk_rows(d) - 1) / chunk_rows(d);
}

const std::byte* row_at(const GroupNormDesc& d, const void* x, int64_t row) {
  return static_cast<const std::byte*>(x) +
         row * d.channels * static_cast<int64_t>(dtype_size(d.dtype));
}

// Sums about `center` of one chunk into sum[channels], square[channels].
void sum_chunk(const FloatRowKernels& kernels, const GroupNormDesc& d, const void* x, int64_t chunk,
               const float* center, float* partial, double* sum, double* square) {
  const int64_t begin = chunk * chunk_rows(d);
  const int64_t end = std::min(d.pixels, begin + chunk_rows(d));
  std::fill_n(sum, d.channels, 0.0);
  std::fill_n(square, d.channels, 0.0);
  for (int64_t row = begin; row < end; row += kRowsPerSum) {
    kernels.channel_sums(row_at(d, x, row), d.dtype == DType::kBF16,
                         std::min(kRowsPerSum, end - row), d.channels, center, partial,
                         partial + d.channels);
    for (int64_t c = 0; c < d.channels; ++c) {
      sum[c] += static_cast<double>(partial[c]);
      square[c] += static_cast<double>(partial[d.channels + c]);
    }
  }
}

// Scale and shift of every channel from the sums of all chunks ([chunk][sum, square][channels]).
void fold(const GroupNormDesc& d, const float* center, double* sums, const float* weight,
          const float* bias, float* scale, float* shift) {
  const int64_t c2 = 2 * d.channels;
  for (int64_t chunk = 1; chunk < chunk_count(d); ++chunk) {
    for (int64_t i = 0; i < c2; ++i) sums[i] += sums[chunk * c2 + i];
  }
  const int64_t size = d.channels / d.groups;
  const auto pixels = static_cast<double>(d.pixels);
  for (int64_t first = 0; first < d.channels; first += size) {
    double mean = 0.0;
    for (int64_t c = first; c < first + size; ++c)
      mean += static_cast<double>(center[c]) + sums[c] / pixels;
    mean /= static_cast<double>(size);
    double variance = 0.0;
    for (int64_t c = first; c < first + size; ++c) {
      const double own = sums[c] / pixels;  // mean about the channel's center
      const double apart = static_cast<double>(center[c]) + own - mean;
      variance += std::max(0.0, sums[d.channels + c] / pixels - own * own) + apart * apart;
    }
    const double inverse =
        1.0 / std::sqrt(variance / static_cast<double>(size) + static_cast<double>(d.eps));
    for (int64_t c = first; c < first + size; ++c) {
      const double factor = inverse * static_cast<double>(weight[c]);
      scale[c] = static_cast<float>(factor);
      shift[c] = static_cast<float>(static_cast<double>(bias[c]) - mean * factor);
    }
  }
}

}  // namespace

size_t group_norm_scratch_bytes(const GroupNormDesc& d) {
  return arena_bytes<float>(3 * d.channels) + arena_bytes<double>(chunk_count(d) * 2 * d.channels) +
         arena_bytes<float>(chunk_count(d) * 2 * d.channels);
}

Status group_norm_by(const FloatRowKernels& kernels, const Context& context, const GroupNormDesc& d,
                     const GroupNormArgs& args) {
  const Arena::Scope scope(*context.scratch);
  const int64_t chunks = chunk_count(d);
  INTAGLIO_ASSIGN(float* const center, context.scratch->take<float>(3 * d.channels));
  INTAGLIO_ASSIGN(double* const sums, context.scratch->take<double>(chunks * 2 * d.channels));
  INTAGLIO_ASSIGN(float* const partial, context.scratch->take<float>(chunks * 2 * d.channels));
  float* const scale = center + d.channels;
  float* const shift = scale + d.channels;
  // Sums about the first pixel: a large mean then costs no digits of the variance.
  convert_to_f32(args.x, d.dtype, center, static_cast<size_t>(d.channels));
  INTAGLIO_TRY(parallel_tasks(context, chunks, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t chunk = begin; chunk < end; ++chunk) {
      double* const sum = sums + chunk * 2 * d.channels;
      sum_chunk(kernels, d, args.x, chunk, center, partial + chunk * 2 * d.channels, sum,
                sum + d.channels);
    }
  }));
  fold(d, center, sums, args.weight, args.bias, scale, shift);
  const int64_t grain = std::max<int64_t>(1, 16384 / d.channels);
  return parallel_tasks(context, d.pixels, grain, [&](int64_t begin, int64_t end, int) {
    kernels.scale_shift({.x = row_at(d, args.x, begin),
                         .y = const_cast<std::byte*>(row_at(d, args.y, begin)),
                         .bf16 = d.dtype == DType::kBF16,
                         .rows = end - begin,
                         .channels = d.channels,
                         .scale = scale,
                         .shift = shift,
                         .silu = d.silu});
  });
}

}  // namespace intaglio::cpu
