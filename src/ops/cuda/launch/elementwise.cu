#include <initializer_list>

#include "ops/cuda/kernels/elementwise.cuh"
#include "ops/cuda/launch/arguments.h"
#include "ops/cuda/launch/elementwise.h"

namespace intaglio::cuda {
namespace {

constexpr int64_t kMostBlocks = 0x7fffffff;
constexpr int64_t kMostSide =
    int64_t{1} << 40;  // products of two sides and a type stay in 64 bits where rows are blocks

bool all_aligned(std::initializer_list<const void*> pointers, uintptr_t bytes) {
  for (const void* pointer : pointers)
    if (!is_aligned(pointer, bytes)) return false;
  return true;
}

uintptr_t bytes_of(DType type) { return type == DType::kF32 ? 4 : 2; }

bool is_f32_or_bf16(DType type) { return type == DType::kF32 || type == DType::kBF16; }

const char* refuse_rows(int64_t rows, int64_t cols) {
  if (rows < 0 || rows > kMostBlocks) return "rows must be 0 to 2^31 - 1";
  if (cols < 0 || cols > (int64_t{1} << 31)) return "cols must be 0 to 2^31";
  return nullptr;
}

const char* refuse_count(int64_t count) {
  return count < 0 || count > kMostBlocks * kElementsOfBlock ? "count must be 0 to 2^43" : nullptr;
}

template <class Op>
cudaError_t launch_flat(const FlatParams& p, cudaStream_t stream) {
  if (refuse_count(p.count) != nullptr) return cudaErrorInvalidValue;
  if (p.count == 0) return cudaSuccess;
  const auto blocks = static_cast<unsigned>((p.count + kElementsOfBlock - 1) / kElementsOfBlock);
  if (all_aligned({p.out, p.a, p.b}, 16)) {
    flat_elements<Op, true><<<blocks, kElementThreads, 0, stream>>>(p);
  } else {
    flat_elements<Op, false><<<blocks, kElementThreads, 0, stream>>>(p);
  }
  return cudaPeekAtLastError();
}

// A block a row: no more threads than the row has pieces.
unsigned threads_for(int64_t cols) {
  const int64_t pieces = (cols + kRowPiece - 1) / kRowPiece;
  return static_cast<unsigned>(pieces < kElementThreads ? (pieces + 31) / 32 * 32
                                                        : kElementThreads);
}

template <class Function>
void launch_activate(const ActivateRowsParams& p, cudaStream_t stream) {
  const auto blocks = static_cast<unsigned>(p.rows * blocks_of_row(p.cols));
  if (p.cols % kRowPiece == 0 && p.ld % kRowPiece == 0 && is_aligned(p.x, 16)) {
    activate_rows_kernel<Function, true><<<blocks, threads_for(p.cols), 0, stream>>>(p);
  } else {
    activate_rows_kernel<Function, false><<<blocks, threads_for(p.cols), 0, stream>>>(p);
  }
}

template <class Epilogue, class X, class Out>
void launch_epilogue(const EpilogueRowsParams& p, cudaStream_t stream) {
  const auto rows = static_cast<unsigned>(p.rows);
  const bool in_pieces =
      p.cols % kRowPiece == 0 && p.ldx % kRowPiece == 0 && p.ldo % kRowPiece == 0;
  if (in_pieces && all_aligned({p.x, p.out}, 16)) {
    epilogue_rows_kernel<Epilogue, X, Out, true><<<rows, threads_for(p.cols), 0, stream>>>(p);
  } else {
    epilogue_rows_kernel<Epilogue, X, Out, false><<<rows, threads_for(p.cols), 0, stream>>>(p);
  }
}

template <class X>
void launch_add_bias(const AddBiasRowsParams& p, cudaStream_t stream) {
  const auto rows = static_cast<unsigned>(p.rows);
  if (p.cols % kRowPiece == 0 && all_aligned({p.x, p.bias}, 16)) {
    add_bias_rows_kernel<X, true><<<rows, threads_for(p.cols), 0, stream>>>(p);
  } else {
    add_bias_rows_kernel<X, false><<<rows, threads_for(p.cols), 0, stream>>>(p);
  }
}

template <class X>
void launch_gate(const GateRowsParams& p, cudaStream_t stream) {
  const auto rows = static_cast<unsigned>(p.rows);
  if (p.cols % kRowPiece == 0 && p.ld % kRowPiece == 0 && all_aligned({p.x, p.gate}, 16)) {
    gate_rows_kernel<X, true><<<rows, threads_for(p.cols), 0, stream>>>(p);
  } else {
    gate_rows_kernel<X, false><<<rows, threads_for(p.cols), 0, stream>>>(p);
  }
}

template <class Out, int kChunks>
void launch_held_softmax(const SoftmaxRowsParams& p, cudaStream_t stream) {
  held_softmax_rows<Out, kChunks>
      <<<static_cast<unsigned>(p.rows), HeldSoftmaxConfig<kChunks>::kThreads, 0, stream>>>(p);
}

template <class Out>
void launch_softmax(const SoftmaxRowsParams& p, cudaStream_t stream) {
  const auto rows = static_cast<unsigned>(p.rows);
  if (p.cols % kRowPiece != 0 || !all_aligned({p.scores, p.out}, 16)) {
    streamed_softmax_rows<Out, false><<<rows, kStreamedSoftmaxThreads, 0, stream>>>(p);
  } else if (p.cols <= HeldSoftmaxConfig<1>::kColumns) {
    launch_held_softmax<Out, 1>(p, stream);
  } else if (p.cols <= HeldSoftmaxConfig<4>::kColumns) {
    launch_held_softmax<Out, 4>(p, stream);
  } else if (p.cols <= HeldSoftmaxConfig<8>::kColumns) {
    launch_held_softmax<Out, 8>(p, stream);
  } else {
    streamed_softmax_rows<Out, true><<<rows, kStreamedSoftmaxThreads, 0, stream>>>(p);
  }
}

template <bool kBlend>
void launch_place(const PlacePictureParams& p, cudaStream_t stream) {
  const auto rows = static_cast<unsigned>(p.tile_height);
  const bool vector = p.tile_width % kRowPiece == 0 && p.width % kRowPiece == 0 &&
                      p.first_column % kRowPiece == 0 &&
                      all_aligned({p.tile, p.picture, p.column_share}, 16);
  if (vector) {
    place_picture_kernel<true, kBlend><<<rows, threads_for(p.tile_width), 0, stream>>>(p);
  } else {
    place_picture_kernel<false, kBlend><<<rows, threads_for(p.tile_width), 0, stream>>>(p);
  }
}

}  // namespace

const char* convert_elements_refusal(const void* in, DType in_type, const void* out, DType out_type,
                                     int64_t count) {
  const bool known =
      (in_type == DType::kF32 && out_type == DType::kBF16) ||
      ((in_type == DType::kBF16 || in_type == DType::kF16) && out_type == DType::kF32);
  if (!known) return "conversions are f32 to bf16, bf16 to f32 and f16 to f32";
  if (const char* reason = refuse_count(count)) return reason;
  if (count > 0 && (in == nullptr || out == nullptr)) return "in and out must be given";
  return is_aligned(in, bytes_of(in_type)) && is_aligned(out, bytes_of(out_type))
             ? nullptr
             : "in or out is not aligned to its type";
}

cudaError_t convert_elements(const void* in, DType in_type, void* out, DType out_type,
                             int64_t count, cudaStream_t stream) {
  if (convert_elements_refusal(in, in_type, out, out_type, count) != nullptr)
    return cudaErrorInvalidValue;
  FlatParams p;
  p.a = in;
  p.out = out;
  p.count = count;
  if (in_type == DType::kF32) return launch_flat<ConvertElements<F32, BF16>>(p, stream);
  return in_type == DType::kBF16 ? launch_flat<ConvertElements<BF16, F32>>(p, stream)
                                 : launch_flat<ConvertElements<F16, F32>>(p, stream);
}

const char* add_in_place_refusal(const float* h, const void* y, DType y_type, int64_t count) {
  if (const char* reason = refuse_count(count)) return reason;
  if (!is_f32_or_bf16(y_type)) return "y must be f32 or bf16";
  if (count > 0 && (h == nullptr || y == nullptr)) return "h and y must be given";
  return is_aligned(h, 4) && is_aligned(y, bytes_of(y_type)) ? nullptr
                                                             : "h or y is not aligned to its type";
}

cudaError_t add_in_place(float* h, const void* y, DType y_type, int64_t count,
                         cudaStream_t stream) {
  if (add_in_place_refusal(h, y, y_type, count) != nullptr) return cudaErrorInvalidValue;
  FlatParams p;
  p.a = p.out = h;
  p.b = y;
  p.count = count;
  return y_type == DType::kF32 ? launch_flat<AddElements<F32>>(p, stream)
                               : launch_flat<AddElements<BF16>>(p, stream);
}

const char* activate_rows_refusal(const ActivateRowsParams& p) {
  if (const char* reason = refuse_rows(p.rows, p.cols)) return reason;
  if (p.rows > 0 && p.cols > 0 && blocks_of_row(p.cols) > kMostBlocks / p.rows)
    return "rows of 4096 columns must be at most 2^31 - 1";
  if (p.ld < p.cols || p.ld > kMostSide) return "ld must be cols to 2^40";
  if (p.rows > 0 && p.cols > 0 && p.x == nullptr) return "x must be given";
  return is_aligned(p.x, 4) ? nullptr : "x is not aligned to its type";
}

cudaError_t activate_rows(const ActivateRowsParams& p, cudaStream_t stream) {
  if (activate_rows_refusal(p) != nullptr) return cudaErrorInvalidValue;
  if (p.rows == 0 || p.cols == 0) return cudaSuccess;
  visit_nonlinearity(p.function,
                     [&](auto function) { launch_activate<decltype(function)>(p, stream); });
  return cudaPeekAtLastError();
}

const char* epilogue_rows_refusal(const EpilogueRowsParams& p) {
  if (!needs_pass(p.epilogue)) return "there is nothing to do";
  if (const char* reason = refuse_rows(p.rows, p.cols)) return reason;
  if (p.ldx < p.cols * columns_per_output(p.epilogue) || p.ldo < p.cols || p.ldx > kMostSide ||
      p.ldo > kMostSide)
    return "ldx and ldo must hold a row and be at most 2^40";
  if (!is_f32_or_bf16(p.x_type) || !is_f32_or_bf16(p.out_type))
    return "x and out must be f32 or bf16";
  if (p.rows > 0 && p.cols > 0 && (p.x == nullptr || p.out == nullptr))
    return "x and out must be given";
  return is_aligned(p.x, bytes_of(p.x_type)) && is_aligned(p.out, bytes_of(p.out_type))
             ? nullptr
             : "x or out is not aligned to its type";
}

cudaError_t epilogue_rows(const EpilogueRowsParams& p, cudaStream_t stream) {
  if (epilogue_rows_refusal(p) != nullptr) return cudaErrorInvalidValue;
  if (p.rows == 0 || p.cols == 0) return cudaSuccess;
  visit_epilogue(p.epilogue, [&](auto epilogue) {
    using Epilogue = decltype(epilogue);
    if constexpr (!std::is_same_v<typename Epilogue::Function, Identity>) {
      if (p.x_type == DType::kF32) {
        p.out_type == DType::kF32 ? launch_epilogue<Epilogue, F32, F32>(p, stream)
                                  : launch_epilogue<Epilogue, F32, BF16>(p, stream);
      } else {
        p.out_type == DType::kF32 ? launch_epilogue<Epilogue, BF16, F32>(p, stream)
                                  : launch_epilogue<Epilogue, BF16, BF16>(p, stream);
      }
    }
  });
  return cudaPeekAtLastError();
}

const char* add_bias_rows_refusal(const AddBiasRowsParams& p) {
  if (const char* reason = refuse_rows(p.rows, p.cols)) return reason;
  if (!is_f32_or_bf16(p.type)) return "x must be f32 or bf16";
  if (p.rows > 0 && p.cols > 0 && (p.x == nullptr || p.bias == nullptr))
    return "x and bias must be given";
  return is_aligned(p.x, bytes_of(p.type)) && is_aligned(p.bias, 4)
             ? nullptr
             : "x or bias is not aligned to its type";
}

cudaError_t add_bias_rows(const AddBiasRowsParams& p, cudaStream_t stream) {
  if (add_bias_rows_refusal(p) != nullptr) return cudaErrorInvalidValue;
  if (p.rows == 0 || p.cols == 0) return cudaSuccess;
  p.type == DType::kF32 ? launch_add_bias<F32>(p, stream) : launch_add_bias<BF16>(p, stream);
  return cudaPeekAtLastError();
}

const char* gate_rows_refusal(const GateRowsParams& p) {
  if (const char* reason = refuse_rows(p.rows, p.cols)) return reason;
  if (p.ld < p.cols || p.ld > kMostSide) return "ld must be cols to 2^40";
  if (!is_f32_or_bf16(p.type)) return "x and gate must be f32 or bf16";
  if (p.rows > 0 && p.cols > 0 && (p.x == nullptr || p.gate == nullptr))
    return "x and gate must be given";
  return all_aligned({p.x, p.gate}, bytes_of(p.type)) ? nullptr
                                                      : "x or gate is not aligned to its type";
}

cudaError_t gate_rows(const GateRowsParams& p, cudaStream_t stream) {
  if (gate_rows_refusal(p) != nullptr) return cudaErrorInvalidValue;
  if (p.rows == 0 || p.cols == 0) return cudaSuccess;
  p.type == DType::kF32 ? launch_gate<F32>(p, stream) : launch_gate<BF16>(p, stream);
  return cudaPeekAtLastError();
}

const char* scatter_tap_refusal(const ScatterTapParams& p) {
  if (const char* reason = refuse_rows(p.rows, p.cols)) return reason;
  if (p.channel_stride < 1 || p.channel_stride > kMostSide || p.offset < 0 || p.ld > kMostSide ||
      p.offset + (p.cols - 1) * p.channel_stride >= p.ld)
    return "the channels must lie inside a row of ld";
  if (p.rows > 0 && p.cols > 0 && (p.h == nullptr || p.features == nullptr))
    return "h and features must be given";
  return all_aligned({p.h, p.features}, 4) ? nullptr : "h or features is not aligned to its type";
}

cudaError_t scatter_tap(const ScatterTapParams& p, cudaStream_t stream) {
  if (scatter_tap_refusal(p) != nullptr) return cudaErrorInvalidValue;
  if (p.rows == 0 || p.cols == 0) return cudaSuccess;
  const auto rows = static_cast<unsigned>(p.rows);
  const bool vector = p.cols % kRowPiece == 0 && is_aligned(p.h, 16);
  if (vector && p.channel_stride == 1 && p.ld % kRowPiece == 0 && p.offset % kRowPiece == 0 &&
      is_aligned(p.features, 16)) {
    scatter_tap_kernel<true, true><<<rows, threads_for(p.cols), 0, stream>>>(p);
  } else if (vector) {
    scatter_tap_kernel<true, false><<<rows, threads_for(p.cols), 0, stream>>>(p);
  } else {
    scatter_tap_kernel<false, false><<<rows, threads_for(p.cols), 0, stream>>>(p);
  }
  return cudaPeekAtLastError();
}

const char* softmax_rows_refusal(const SoftmaxRowsParams& p) {
  if (const char* reason = refuse_rows(p.rows, p.cols)) return reason;
  if (p.cols > (int64_t{1} << 30)) return "cols must be at most 2^30";
  if (!is_f32_or_bf16(p.out_type)) return "out must be f32 or bf16";
  if (p.rows > 0 && p.cols > 0 && (p.scores == nullptr || p.out == nullptr))
    return "scores and out must be given";
  return is_aligned(p.scores, 4) && is_aligned(p.out, bytes_of(p.out_type))
             ? nullptr
             : "scores or out is not aligned to its type";
}

cudaError_t softmax_rows(const SoftmaxRowsParams& p, cudaStream_t stream) {
  if (softmax_rows_refusal(p) != nullptr) return cudaErrorInvalidValue;
  if (p.rows == 0 || p.cols == 0) return cudaSuccess;
  p.out_type == DType::kF32 ? launch_softmax<F32>(p, stream) : launch_softmax<BF16>(p, stream);
  return cudaPeekAtLastError();
}

const char* place_picture_refusal(const PlacePictureParams& p) {
  constexpr int64_t kMostPixels = 1 << 30;
  if (p.tile_height < 0 || p.tile_width < 0 || p.first_row < 0 || p.first_column < 0 ||
      p.height > kMostPixels || p.width > kMostPixels || p.first_row > p.height - p.tile_height ||
      p.first_column > p.width - p.tile_width)
    return "the tile must lie inside the picture";
  if ((p.row_share == nullptr) != (p.column_share == nullptr))
    return "both shares or none must be given";
  if (p.tile_height > 0 && p.tile_width > 0 && (p.tile == nullptr || p.picture == nullptr))
    return "tile and picture must be given";
  return all_aligned({p.tile, p.picture, p.row_share, p.column_share}, 4)
             ? nullptr
             : "a pointer is not aligned to its type";
}

cudaError_t place_picture(const PlacePictureParams& p, cudaStream_t stream) {
  if (place_picture_refusal(p) != nullptr) return cudaErrorInvalidValue;
  if (p.tile_height == 0 || p.tile_width == 0) return cudaSuccess;
  p.row_share != nullptr ? launch_place<true>(p, stream) : launch_place<false>(p, stream);
  return cudaPeekAtLastError();
}

}  // namespace intaglio::cuda
