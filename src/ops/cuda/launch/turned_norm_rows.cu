// The row norms that turn what they quantize: their own file, to be compiled beside the others.
#include "ops/cuda/kernels/norm_rows.cuh"
#include "ops/cuda/launch/norm_rows.h"

namespace intaglio::cuda::detail {
namespace {

constexpr int kThreads = HeldNormConfig<4>::kThreads;
static_assert(kWideTurnedThreads * 4 * kRowPiece == kMostTurnedColumns);

template <RowUpdate kUpdate, class YType, bool kShift, int kThreadsOfRow>
cudaError_t launch_held(const ResidualRowsParams& p, cudaStream_t stream) {
  held_norm_rows<kUpdate, YType, 4, DType::kI8, kShift, true, kThreadsOfRow>
      <<<static_cast<unsigned>(p.rows), kThreadsOfRow, 0, stream>>>(p);
  return cudaPeekAtLastError();
}

template <RowUpdate kUpdate, class YType>
cudaError_t launch(const ResidualRowsParams& p, cudaStream_t stream) {
  const bool shift = p.next.shift != nullptr;
  if (p.cols <= HeldNormConfig<4>::kColumns) {
    return shift ? launch_held<kUpdate, YType, true, kThreads>(p, stream)
                 : launch_held<kUpdate, YType, false, kThreads>(p, stream);
  }
  return shift ? launch_held<kUpdate, YType, true, kWideTurnedThreads>(p, stream)
               : launch_held<kUpdate, YType, false, kWideTurnedThreads>(p, stream);
}

}  // namespace

cudaError_t launch_turned_norm_rows(const ResidualRowsParams& p, cudaStream_t stream) {
  if (p.update == RowUpdate::kNone) return launch<RowUpdate::kNone, F32>(p, stream);
  return launch<RowUpdate::kGated, BF16>(p, stream);
}

}  // namespace intaglio::cuda::detail
