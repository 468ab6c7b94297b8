#include "ops/cuda/kernels/norm_rows.cuh"
#include "ops/cuda/launch/arguments.h"
#include "ops/cuda/launch/dynamic_shared.h"
#include "ops/cuda/launch/norm_rows.h"
#include "quant/rotation.h"

namespace intaglio::cuda {
namespace {

uintptr_t bytes_of(DType type) { return type == DType::kF32 ? 4 : type == DType::kBF16 ? 2 : 1; }

const char* refuse_sizes(int64_t rows, int64_t cols) {
  if (rows < 0 || rows > 0x7fffffff) return "rows must be 0 to 2^31 - 1";
  if (cols < 1 || cols > (int64_t{1} << 30)) return "cols must be 1 to 2^30";
  return nullptr;
}

const char* refuse_norm(const RowNorm& n) {
  if (n.kind != RowNormKind::kRms && n.kind != RowNormKind::kLayer) return "unknown norm";
  if (n.out_type != DType::kF32 && n.out_type != DType::kBF16 && n.out_type != DType::kI8 &&
      n.out_type != DType::kF8E4M3)
    return "unknown output type";
  if (!(n.eps >= 0.0f)) return "eps must be >= 0";
  if ((n.out_type == DType::kI8 || n.out_type == DType::kF8E4M3) && n.scale == nullptr)
    return "int8 and e4m3 need scale";
  if (!is_aligned(n.out, bytes_of(n.out_type))) return "out is not aligned to its type";
  return nullptr;
}

bool rows_are_vectors(const ResidualRowsParams& p) {
  return p.cols % kRowPiece == 0 && is_aligned(p.h, 16) && is_aligned(p.y, 16) &&
         is_aligned(p.weight, 16) && is_aligned(p.gate, 16) && is_aligned(p.next.out, 16) &&
         is_aligned(p.next.weight, 16) && is_aligned(p.next.modulation, 16) &&
         is_aligned(p.next.shift, 16);
}

const char* refuse_turn(const ResidualRowsParams& p) {
  const RowNorm& n = p.next;
  if (n.out == nullptr || n.group == 0) return nullptr;
  if (n.out_type != DType::kI8) return "only int8 rows are turned";
  if (n.group > kMostTurnedGroup) return "the group is not 16, 64 or 256";
  if (p.cols > kMostTurnedColumns) return "turned rows have at most 6144 columns";
  if (const char* reason = rotation_refusal(p.cols, n.group)) return reason;
  return rows_are_vectors(p) ? nullptr : "turned rows and their vectors are aligned to 16 bytes";
}

// The norm alone as what all kernels take.
ResidualRowsParams without_update(const NormRowsParams& p) {
  ResidualRowsParams rows{};
  rows.update = RowUpdate::kNone;
  rows.h = const_cast<float*>(p.x);  // only read without an update
  rows.rows = p.rows;
  rows.cols = p.cols;
  rows.next = p.norm;
  return rows;
}

// What a block may have of shared memory on the current device, beside the static few words.
int64_t shared_limit() {
  int device = 0, bytes = 0;
  if (cudaGetDevice(&device) != cudaSuccess ||
      cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device) !=
          cudaSuccess)
    return 0;
  return bytes - 1024;
}

template <RowUpdate kUpdate, class YType, DType kOut, bool kShift, int kChunks>
cudaError_t launch_held(const ResidualRowsParams& p, cudaStream_t stream) {
  held_norm_rows<kUpdate, YType, kChunks, kOut, kShift>
      <<<static_cast<unsigned>(p.rows), HeldNormConfig<kChunks>::kThreads, 0, stream>>>(p);
  return cudaPeekAtLastError();
}

template <RowUpdate kUpdate, class YType, DType kOut, bool kShift>
cudaError_t launch(const ResidualRowsParams& p, cudaStream_t stream) {
  const auto rows = static_cast<unsigned>(p.rows);
  const int64_t pieces = (p.cols + kRowPiece - 1) / kRowPiece;
  if (!rows_are_vectors(p)) {
    // No more threads than pieces.
    constexpr int kMost = kStreamedNormThreads<false>;
    const auto threads = static_cast<unsigned>(pieces < kMost ? (pieces + 31) / 32 * 32 : kMost);
    streamed_norm_rows<kUpdate, YType, false, false, kOut, kShift><<<rows, threads, 0, stream>>>(p);
    return cudaPeekAtLastError();
  }
  if (p.cols <= HeldNormConfig<1>::kColumns)
    return launch_held<kUpdate, YType, kOut, kShift, 1>(p, stream);
  if (p.cols <= HeldNormConfig<4>::kColumns)
    return launch_held<kUpdate, YType, kOut, kShift, 4>(p, stream);
  if (p.cols <= HeldNormConfig<8>::kColumns)
    return launch_held<kUpdate, YType, kOut, kShift, 8>(p, stream);
  if constexpr (kUpdate == RowUpdate::kNone) {
    constexpr int kThreads = kStreamedNormThreads<true>;
    const int64_t bytes = p.cols * int64_t{sizeof(float)};
    if (const int64_t most = shared_limit(); bytes <= most) {
      constexpr auto* kKernel = streamed_norm_rows<kUpdate, YType, true, true, kOut, kShift>;
      const cudaError_t status = allow_dynamic_shared(kKernel, static_cast<int>(most));
      if (status != cudaSuccess) return status;
      kKernel<<<rows, kThreads, static_cast<size_t>(bytes), stream>>>(p);
      return cudaPeekAtLastError();
    }
  }
  streamed_norm_rows<kUpdate, YType, true, false, kOut, kShift>
      <<<rows, kStreamedNormThreads<true>, 0, stream>>>(p);
  return cudaPeekAtLastError();
}

// Nothing adds a plain y before a norm with a shift, nor one of floats or a plain one before a
// turn: that has no kernels, and residual_rows launches the two apart.
template <RowUpdate kUpdate, class YType, DType kOut>
cudaError_t launch_shift(const ResidualRowsParams& p, cudaStream_t stream) {
  if constexpr (kUpdate != RowUpdate::kAdd) {
    if (p.next.shift != nullptr) return launch<kUpdate, YType, kOut, true>(p, stream);
  }
  return launch<kUpdate, YType, kOut, false>(p, stream);
}

// e4m3 has kernels of its own; those of int8 write the other types too.
template <RowUpdate kUpdate, class YType>
cudaError_t launch_out(const ResidualRowsParams& p, cudaStream_t stream) {
  return p.next.out_type == DType::kF8E4M3 ? launch_shift<kUpdate, YType, DType::kF8E4M3>(p, stream)
                                           : launch_shift<kUpdate, YType, DType::kI8>(p, stream);
}

template <RowUpdate kUpdate>
cudaError_t launch_typed(const ResidualRowsParams& p, cudaStream_t stream) {
  return p.y_type == DType::kF32 ? launch_out<kUpdate, F32>(p, stream)
                                 : launch_out<kUpdate, BF16>(p, stream);
}

}  // namespace

const char* norm_rows_refusal(const NormRowsParams& p) {
  if (const char* reason = refuse_sizes(p.rows, p.cols)) return reason;
  if (p.rows > 0 && (p.x == nullptr || p.norm.out == nullptr)) return "x and out must be given";
  if (!is_aligned(p.x, 4)) return "x is not aligned to its type";
  if (const char* reason = refuse_norm(p.norm)) return reason;
  return refuse_turn(without_update(p));
}

const char* residual_rows_refusal(const ResidualRowsParams& p) {
  if (const char* reason = refuse_sizes(p.rows, p.cols)) return reason;
  if (p.update != RowUpdate::kAdd && p.update != RowUpdate::kGated) return "unknown update";
  if (p.y_type != DType::kF32 && p.y_type != DType::kBF16) return "y must be f32 or bf16";
  if (p.rows > 0 && (p.h == nullptr || p.y == nullptr)) return "h and y must be given";
  if (!is_aligned(p.h, 4) || !is_aligned(p.y, p.y_type == DType::kF32 ? 4 : 2))
    return "h or y is not aligned to its type";
  if (p.update == RowUpdate::kGated && !(p.eps >= 0.0f)) return "eps must be >= 0";
  if (p.next.out == nullptr) return nullptr;
  if (const char* reason = refuse_norm(p.next)) return reason;
  return refuse_turn(p);
}

cudaError_t norm_rows(const NormRowsParams& p, cudaStream_t stream) {
  if (norm_rows_refusal(p) != nullptr) return cudaErrorInvalidValue;
  if (p.rows == 0) return cudaSuccess;
  const ResidualRowsParams rows = without_update(p);
  if (p.norm.group != 0) return detail::launch_turned_norm_rows(rows, stream);
  return launch_out<RowUpdate::kNone, F32>(rows, stream);
}

cudaError_t residual_rows(const ResidualRowsParams& p, cudaStream_t stream) {
  if (residual_rows_refusal(p) != nullptr) return cudaErrorInvalidValue;
  if (p.rows == 0) return cudaSuccess;
  const bool gated = p.update == RowUpdate::kGated;
  const bool turned = p.next.out != nullptr && p.next.group != 0;
  const bool shifted = p.next.out != nullptr && p.next.shift != nullptr;
  const auto update_rows = [&](const ResidualRowsParams& rows) {
    return gated ? launch_typed<RowUpdate::kGated>(rows, stream)
                 : launch_typed<RowUpdate::kAdd>(rows, stream);
  };
  if (turned && gated && p.y_type == DType::kBF16)
    return detail::launch_turned_norm_rows(p, stream);
  if (!turned && (gated || !shifted)) return update_rows(p);
  ResidualRowsParams update = p;
  update.next = {};
  const cudaError_t status = update_rows(update);
  return status != cudaSuccess ? status : norm_rows({p.h, p.rows, p.cols, p.next}, stream);
}

}  // namespace intaglio::cuda
