#if defined(INTAGLIO_X86)

#include "ops/cpu/bf16_amx_conv2d.h"

#include <algorithm>
#include <cstring>

#include "core/parallel_tasks.h"
#include "ops/cpu/conv2d_weights.h"
#include "ops/cpu/s8_pack.h"

namespace intaglio {
namespace {

constexpr int64_t kStepElements = kAmxStepK / 2;  // bf16 values of a step
constexpr int64_t kElement = 2;                   // bytes
constexpr int64_t kTasksPerThread = 4;
// Weights that do not stay in L2 beside a block are prefetched from L3.
constexpr int64_t kCachedWeights = int64_t{1} << 20;

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t round_up(int64_t a, int64_t b) { return divide_up(a, b) * b; }

// What the channels alone decide: the weights' layout.
struct WindowShape {
  int64_t channels = 0;  // of a pixel of the copy, padded
  int64_t phases = 1;    // 4 through an upsampling
  int64_t taps = 0;      // of a window row and column
  int64_t segment_steps = 0, k_steps = 0;
  int64_t panels = 0;

  int64_t panel_bytes() const { return k_steps * kAmxStepWBytes; }
  int64_t phase_bytes() const { return panels * panel_bytes(); }
};

WindowShape window_shape(const Conv2dDesc& d) {
  WindowShape s;
  s.channels = round_up(d.in_channels, kStepElements);
  s.phases = d.upsample ? 4 : 1;
  s.taps = d.kernel == 1 ? 1 : d.upsample ? 2 : 3;
  s.segment_steps = s.taps * s.channels / kStepElements;
  s.k_steps = s.taps * s.segment_steps;
  s.panels = divide_up(d.out_channels, kAmxPanelCols);
  return s;
}

// How the picture is cut into tasks.
struct Blocking {
  WindowShape window;
  int64_t height = 0, width = 0;  // of the source
  int64_t pad = 0;
  int64_t rows = 0, columns = 0;  // of a block
  int64_t down = 0, across = 0;   // blocks
  int64_t tile_groups = 0, piece_steps = 0;

  int64_t pixel_bytes() const { return window.channels * kElement; }
  int64_t line_bytes(int64_t block_columns) const {
    return (block_columns + 2 * pad) * pixel_bytes();
  }
  // Places from the first output of a block to its last.
  int64_t places(int64_t block_rows, int64_t block_columns) const {
    return (block_rows - 1) * (block_columns + 2 * pad) + block_columns;
  }
  // The last group of places reads on past the copy.
  size_t copy_bytes() const {
    return align_up(
        static_cast<size_t>((rows + 2 * pad) * line_bytes(columns) + kAmxRows * pixel_bytes()),
        kCacheLine);
  }
  int64_t acc_elements() const {
    const int64_t row_tiles = divide_up(divide_up(places(rows, columns), kAmxRows), tile_groups);
    return tile_groups * kAmxGroupAccElements * (window.k_steps > piece_steps ? row_tiles : 1);
  }
  size_t thread_bytes() const {
    return copy_bytes() + static_cast<size_t>(acc_elements()) * sizeof(int32_t);
  }
};

Blocking make_blocking(const Conv2dDesc& d, int threads, const Bf16AmxConvOptions& options) {
  Blocking b;
  b.window = window_shape(d);
  b.height = d.upsample ? d.height / 2 : d.height;
  b.width = d.upsample ? d.width / 2 : d.width;
  b.pad = d.kernel == 1 ? 0 : 1;
  b.tile_groups = std::clamp<int64_t>(options.tile_groups, 2, kAmxMaxGroups);
  const int64_t pieces = divide_up(b.window.k_steps, std::max<int64_t>(1, options.piece_steps));
  b.piece_steps = divide_up(b.window.k_steps, pieces);
  // Blocks of nearly equal size: as wide as a block may be, then as high as its bytes allow.
  b.across = divide_up(b.width, std::max<int64_t>(1, options.block_columns));
  b.columns = divide_up(b.width, b.across);
  const int64_t fitting =
      std::max<int64_t>(1, options.block_bytes / b.line_bytes(b.columns) - 2 * b.pad);
  const int64_t tasks = kTasksPerThread * static_cast<int64_t>(std::max(threads, 1));
  const int64_t shared = std::max<int64_t>(1, b.height * b.across / tasks);
  b.down = divide_up(b.height, std::min({fitting, shared, b.height}));
  b.rows = divide_up(b.height, b.down);
  b.down = divide_up(b.height, b.rows);
  b.across = divide_up(b.width, b.columns);
  return b;
}

// Source pixels of a block.
struct Block {
  int64_t row = 0, rows = 0, column = 0, columns = 0;
};

// Places [first, first + count) of a line of the copy from one source row, channels padded.
void copy_pixels(const Conv2dDesc& d, const Blocking& b, const std::byte* source_row,
                 const Block& block, std::byte* line) {
  const int64_t pixel = b.pixel_bytes();
  const int64_t source_pixel = d.in_channels * kElement;
  const int64_t first = std::max<int64_t>(0, block.column - b.pad);
  const int64_t last = std::min(b.width, block.column + block.columns + b.pad);
  const int64_t left = (first - (block.column - b.pad)) * pixel;
  const int64_t inside = (last - first) * pixel;
  std::memset(line, 0, static_cast<size_t>(left));
  std::memset(line + left + inside, 0,
              static_cast<size_t>(b.line_bytes(block.columns) - left - inside));
  const std::byte* source = source_row + first * source_pixel;
  if (pixel == source_pixel) {
    std::memcpy(line + left, source, static_cast<size_t>(inside));
    return;
  }
  std::byte* target = line + left;
  for (int64_t p = first; p < last; ++p, source += source_pixel, target += pixel) {
    std::memcpy(target, source, static_cast<size_t>(source_pixel));
    std::memset(target + source_pixel, 0, static_cast<size_t>(pixel - source_pixel));
  }
}

void copy_block(const Conv2dDesc& d, const Blocking& b, const void* x, const Block& block,
                std::byte* copy) {
  const int64_t line = b.line_bytes(block.columns);
  for (int64_t r = 0; r < block.rows + 2 * b.pad; ++r) {
    const int64_t row = block.row + r - b.pad;
    if (row < 0 || row >= b.height) {
      std::memset(copy + r * line, 0, static_cast<size_t>(line));
      continue;
    }
    const auto* source =
        static_cast<const std::byte*>(x) + row * b.width * d.in_channels * kElement;
    copy_pixels(d, b, source, block, copy + r * line);
  }
  std::memset(copy + (block.rows + 2 * b.pad) * line, 0,
              static_cast<size_t>(kAmxRows * b.pixel_bytes()));
}

// The task of one block and one phase, but for its sums.
Bf16AmxTask make_task(const Conv2dDesc& d, const Blocking& b, const Conv2dWeights& weights,
                      const Conv2dPictures& pictures, const Block& block, int64_t phase) {
  const WindowShape& window = b.window;
  const int64_t step = d.upsample ? 2 : 1;  // output pixels of one phase between neighbours
  Bf16AmxTask task{};
  task.lda = b.pixel_bytes();
  task.a_tail_group = -1;
  task.m = b.places(block.rows, block.columns);
  task.group_end = divide_up(task.m, kAmxRows);
  task.w = weights.packed.as<uint8_t>() + phase * window.phase_bytes();
  task.panel_bytes = window.panel_bytes();
  task.panel_end = window.panels;
  task.tile_groups = b.tile_groups;
  task.k_steps = task.k_block_steps = window.k_steps;
  task.piece_steps = b.piece_steps;
  task.piece_tiles = task.group_end;
  task.prefetch_w = window.phase_bytes() > kCachedWeights;
  task.segment_steps = window.segment_steps;
  task.segment_jump = b.line_bytes(block.columns) - window.segment_steps * kAmxStepK;

  const int64_t row = block.row * step + phase / 2;
  const int64_t column = block.column * step + phase % 2;
  const int64_t at =
      (row * d.width + column) * d.out_channels * static_cast<int64_t>(dtype_size(d.out_dtype()));
  Bf16Epilogue& e = task.epilogue;
  e.bias = weights.bias.as<float>();
  e.out = static_cast<std::byte*>(pictures.y) + at;
  e.add = pictures.add != nullptr ? static_cast<const std::byte*>(pictures.add) + at : nullptr;
  e.ld = step * d.out_channels;
  e.ld_line = step * d.width * d.out_channels;
  e.pitch = static_cast<uint32_t>(block.columns + 2 * b.pad);
  e.width = static_cast<uint32_t>(block.columns);
  e.n = d.out_channels;
  e.bf16_out = d.out_dtype() == DType::kBF16;
  return task;
}

}  // namespace

Expected<AlignedBuffer> pack_bf16_amx_conv2d(const Context& context, const Conv2dDesc& d,
                                             const float* w) {
  const WindowShape s = window_shape(d);
  INTAGLIO_ASSIGN(AlignedBuffer packed,
                  AlignedBuffer::allocate(static_cast<size_t>(s.phases * s.phase_bytes())));
  const int64_t depth = s.k_steps * kStepElements;
  const int64_t threads = std::max(context.threads, 1);
  INTAGLIO_ASSIGN(
      const AlignedBuffer scratch,
      AlignedBuffer::allocate(static_cast<size_t>(threads * kAmxPanelCols * depth * kElement)));
  INTAGLIO_TRY(
      parallel_tasks(context, s.phases * s.panels, 1, [&](int64_t begin, int64_t end, int thread) {
        auto* const matrix = scratch.as<BFloat16>() + thread * kAmxPanelCols * depth;
        for (int64_t task = begin; task < end; ++task) {
          const int64_t phase = task / s.panels;
          const int64_t column = task % s.panels * kAmxPanelCols;
          const int64_t columns = std::min<int64_t>(kAmxPanelCols, d.out_channels - column);
          BFloat16* out = matrix;
          for (int64_t o = column; o < column + columns; ++o) {
            for (int64_t ty = 0; ty < s.taps; ++ty) {
              for (int64_t tx = 0; tx < s.taps; ++tx) {
                for (int64_t c = 0; c < s.channels; ++c) {
                  *out++ = BFloat16(
                      c < d.in_channels ? cpu::folded_weight(d, w, phase, o, ty, tx, c) : 0.0f);
                }
              }
            }
          }
          // A dword is a group of four int8 there and a pair of bf16 here.
          S8Packing<S8AmxLayout>::pack(reinterpret_cast<const int8_t*>(matrix), columns,
                                       depth * kElement,
                                       packed.as<uint8_t>() + task * s.panel_bytes());
        }
      }));
  return packed;
}

size_t bf16_amx_conv2d_scratch_bytes(const Conv2dDesc& desc, int threads,
                                     const Bf16AmxConvOptions& options) {
  return make_blocking(desc, threads, options).thread_bytes() *
         static_cast<size_t>(std::max(threads, 1));
}

Status run_bf16_amx_conv2d(const Context& context, const Conv2dDesc& d,
                           const Conv2dWeights& weights, const Conv2dPictures& pictures,
                           const Bf16AmxConvOptions& options) {
  if (context.scratch == nullptr)
    return make_error(ErrorCode::kInvalidArgument, "conv2d: context.scratch is null");
  const Blocking b = make_blocking(d, context.threads, options);
  const auto bytes = static_cast<int64_t>(b.thread_bytes());
  const Arena::Scope scope(*context.scratch);
  INTAGLIO_ASSIGN(std::byte* const scratch,
                  context.scratch->take<std::byte>(bytes * std::max(context.threads, 1)));
  INTAGLIO_TRY(
      parallel_tasks(context, b.down * b.across, 1, [&](int64_t begin, int64_t end, int thread) {
        std::byte* const copy = scratch + thread * bytes;
        for (int64_t index = begin; index < end; ++index) {
          Block block;
          block.row = index / b.across * b.rows;
          block.rows = std::min(b.rows, b.height - block.row);
          block.column = index % b.across * b.columns;
          block.columns = std::min(b.columns, b.width - block.column);
          copy_block(d, b, pictures.x, block, copy);
          const int64_t line = b.line_bytes(block.columns);
          for (int64_t phase = 0; phase < b.window.phases; ++phase) {
            Bf16AmxTask task = make_task(d, b, weights, pictures, block, phase);
            task.a = reinterpret_cast<const int8_t*>(copy + phase / 2 * line +
                                                     phase % 2 * b.pixel_bytes());
            task.acc = reinterpret_cast<int32_t*>(copy + b.copy_bytes());
            options.kernel(task);
          }
        }
      }));
  return {};
}

}  // namespace intaglio

#endif  // INTAGLIO_X86
