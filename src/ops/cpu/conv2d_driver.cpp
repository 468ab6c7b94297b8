#include "ops/cpu/conv2d_driver.h"

#include <algorithm>
#include <cstring>
#include <optional>

#include "core/parallel_tasks.h"
#include "ops/cpu/conv2d_weights.h"
#include "ops/cpu/float_row_driver.h"

namespace intaglio::cpu {
namespace {

constexpr int64_t kBandBytes = 393216;  // the padded rows of a task stay in the second-level cache

// Everything the sizes of one convolution decide.
struct Geometry {
  int64_t element = 0;                     // bytes of a kernel element
  int64_t channels = 0;                    // of the padded rows: even for bf16
  int64_t height = 0, width = 0;           // of the source
  int64_t phases = 1;                      // 4 through an upsampling
  int64_t taps = 0;                        // of a window row and column
  int64_t pad = 0;                         // border of the padded rows
  int64_t depth = 0;                       // values of a window
  int64_t panels = 0, phase_elements = 0;  // of the packed weights
  int64_t band = 0, bands = 0;             // source rows of a task
  bool copies = true;                      // false: the source rows serve as they are

  int64_t row_elements() const { return (width + 2 * pad) * channels; }
  size_t band_bytes() const {
    return copies ? align_up(static_cast<size_t>((band + 2 * pad) * row_elements() * element),
                             kCacheLine)
                  : 0;
  }
};

int64_t panel_elements(int64_t columns, int64_t depth) {
  return static_cast<int64_t>(align_up(static_cast<size_t>(columns), 16)) * depth;
}

Geometry make_geometry(const FloatGemmKernels& kernels, const Conv2dDesc& d, int threads) {
  Geometry g;
  g.element = kernels.bf16 ? 2 : 4;
  g.channels = kernels.bf16 ? d.in_channels + d.in_channels % 2 : d.in_channels;
  g.height = d.upsample ? d.height / 2 : d.height;
  g.width = d.upsample ? d.width / 2 : d.width;
  g.phases = d.upsample ? 4 : 1;
  g.taps = d.kernel == 1 ? 1 : d.upsample ? 2 : 3;
  g.pad = d.kernel == 1 ? 0 : 1;
  g.depth = g.taps * g.taps * g.channels;
  g.panels = (d.out_channels + kPanelColumns - 1) / kPanelColumns;
  g.phase_elements = panel_elements(d.out_channels, g.depth);
  g.copies =
      d.kernel != 1 || g.channels != d.in_channels || (d.dtype == DType::kBF16) != kernels.bf16;
  const int64_t fitting =
      kBandBytes / std::max<int64_t>(1, g.row_elements() * g.element) - 2 * g.pad;
  const int64_t shared =
      g.height / (4 * static_cast<int64_t>(std::max(threads, 1)));  // four tasks a thread
  g.band = std::clamp<int64_t>(std::min(fitting, shared), 1, std::max<int64_t>(1, g.height));
  g.bands = (g.height + g.band - 1) / g.band;
  return g;
}

// Source rows [first - pad, first + rows + pad) with zeros around the picture, in the type of the
// kernels.
void copy_band(const FloatGemmKernels& kernels, const FloatRowKernels& row_kernels,
               const Conv2dDesc& d, const Geometry& g, const void* x, int64_t first, int64_t rows,
               std::byte* band) {
  const int64_t row_bytes = g.row_elements() * g.element;
  const bool widens = d.dtype == DType::kBF16 && !kernels.bf16;
  const int64_t source_row_bytes =
      g.width * d.in_channels * static_cast<int64_t>(dtype_size(d.dtype));
  for (int64_t r = 0; r < rows + 2 * g.pad; ++r) {
    std::byte* target = band + r * row_bytes;
    const int64_t source_row = first + r - g.pad;
    if (source_row < 0 || source_row >= g.height) {
      std::memset(target, 0, static_cast<size_t>(row_bytes));
      continue;
    }
    const int64_t border = g.pad * g.channels * g.element;
    std::memset(target, 0, static_cast<size_t>(border));
    std::memset(target + row_bytes - border, 0, static_cast<size_t>(border));
    target += border;
    const auto* source = static_cast<const std::byte*>(x) + source_row * source_row_bytes;
    if (widens) {
      row_kernels.widen(reinterpret_cast<const uint16_t*>(source), g.width * d.in_channels,
                        reinterpret_cast<float*>(target));
    } else if (g.channels == d.in_channels) {
      std::memcpy(target, source, static_cast<size_t>(source_row_bytes));
    } else {  // bf16 pixels of an odd number of channels, each padded with a zero
      for (int64_t p = 0; p < g.width; ++p) {
        std::memcpy(target + p * g.channels * 2, source + p * d.in_channels * 2,
                    static_cast<size_t>(d.in_channels * 2));
        std::memset(target + (p * g.channels + d.in_channels) * 2, 0, 2);
      }
    }
  }
}

// Outputs of source rows [first, first + rows), whose padded copy (or, without copies, whose
// source) starts at `band`.
void multiply_band(const FloatGemmKernels& kernels, const Conv2dDesc& d, const Geometry& g,
                   const Conv2dWeights& weights, const std::byte* band, int64_t first, int64_t rows,
                   const void* add, void* y) {
  const auto* bias = weights.bias.as<float>();
  const auto out_element = static_cast<int64_t>(dtype_size(d.out_dtype()));
  const int64_t step = d.upsample ? 2 : 1;  // output pixels of one phase between neighbours
  // Without a window, all rows are one product.
  const bool joined = d.kernel == 1;
  for (int64_t phase = 0; phase < g.phases; ++phase) {
    for (int64_t panel = 0; panel < g.panels; ++panel) {
      const int64_t column = panel * kPanelColumns;
      FloatGemmBlock block;
      block.lda = g.channels;
      block.segments = g.taps;
      block.segment_stride = g.row_elements();
      block.panel = weights.packed.as<std::byte>() +
                    (phase * g.phase_elements + panel_elements(column, g.depth)) * g.element;
      block.m = joined ? rows * g.width : g.width;
      block.n = std::min(kPanelColumns, d.out_channels - column);
      block.k = g.taps * g.channels;
      block.bias = bias + column;
      block.ld_add = block.ld_out = step * d.out_channels;
      block.bf16_out = d.out_dtype() == DType::kBF16;
      for (int64_t r = 0; r < (joined ? 1 : rows); ++r) {
        block.a = band + ((r + phase / 2) * g.row_elements() + phase % 2 * g.channels) * g.element;
        const int64_t out_row = (first + r) * step + phase / 2;
        const int64_t at =
            ((out_row * d.width + phase % 2) * d.out_channels + column) * out_element;
        block.out = static_cast<std::byte*>(y) + at;
        block.add = add != nullptr ? static_cast<const std::byte*>(add) + at : nullptr;
        kernels.block(block);
      }
    }
  }
}

}  // namespace

Expected<AlignedBuffer> pack_conv2d(const FloatGemmKernels& kernels, const Context& context,
                                    const Conv2dDesc& d, const float* w) {
  const Geometry g = make_geometry(kernels, d, 1);
  const auto bytes = static_cast<size_t>(g.phases * g.phase_elements * g.element);
  INTAGLIO_ASSIGN(AlignedBuffer packed, AlignedBuffer::allocate(bytes));
  const int64_t threads = std::max(context.threads, 1);
  INTAGLIO_ASSIGN(const AlignedBuffer rows,
                  AlignedBuffer::allocate(static_cast<size_t>(threads * kPanelColumns * g.depth) *
                                          sizeof(float)));
  INTAGLIO_TRY(
      parallel_tasks(context, g.phases * g.panels, 1, [&](int64_t begin, int64_t end, int thread) {
        float* const matrix = rows.as<float>() + thread * kPanelColumns * g.depth;
        for (int64_t task = begin; task < end; ++task) {
          const int64_t phase = task / g.panels;
          const int64_t column = task % g.panels * kPanelColumns;
          const int64_t columns = std::min(kPanelColumns, d.out_channels - column);
          float* out = matrix;
          for (int64_t o = column; o < column + columns; ++o) {
            for (int64_t ty = 0; ty < g.taps; ++ty) {
              for (int64_t tx = 0; tx < g.taps; ++tx) {
                for (int64_t c = 0; c < g.channels; ++c) {
                  *out++ = c < d.in_channels ? folded_weight(d, w, phase, o, ty, tx, c) : 0.0f;
                }
              }
            }
          }
          kernels.pack(
              matrix, false, g.depth, columns, g.depth,
              packed.as<std::byte>() +
                  (phase * g.phase_elements + panel_elements(column, g.depth)) * g.element);
        }
      }));
  return packed;
}

size_t conv2d_scratch_bytes(const FloatGemmKernels& kernels, const Conv2dDesc& desc, int threads) {
  return make_geometry(kernels, desc, threads).band_bytes() *
         static_cast<size_t>(std::max(threads, 1));
}

Status run_conv2d(const FloatGemmKernels& kernels, const Context& context, const Conv2dDesc& d,
                  const Conv2dWeights& weights, const void* x, const void* add, void* y) {
  const Geometry g = make_geometry(kernels, d, context.threads);
  const auto bytes = static_cast<int64_t>(g.band_bytes());
  if (context.scratch == nullptr && bytes > 0)
    return make_error(ErrorCode::kInvalidArgument, "conv2d: context.scratch is null");
  std::optional<Arena::Scope> scope;
  std::byte* scratch = nullptr;
  if (bytes > 0) {
    scope.emplace(*context.scratch);
    INTAGLIO_ASSIGN(scratch,
                    context.scratch->take<std::byte>(bytes * std::max(context.threads, 1)));
  }
  const FloatRowKernels& row_kernels = select_float_row_kernels(context);
  INTAGLIO_TRY(parallel_tasks(context, g.bands, 1, [&](int64_t begin, int64_t end, int thread) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t first = task * g.band;
      const int64_t rows = std::min(g.band, g.height - first);
      const std::byte* band =
          static_cast<const std::byte*>(x) + first * g.row_elements() * g.element;
      if (g.copies) {
        std::byte* const copy = scratch + thread * bytes;
        copy_band(kernels, row_kernels, d, g, x, first, rows, copy);
        band = copy;
      }
      multiply_band(kernels, d, g, weights, band, first, rows, add, y);
    }
  }));
  return {};
}

}  // namespace intaglio::cpu
