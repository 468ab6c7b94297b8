#include <algorithm>

#include "ops/cuda/kernels/dequantize_weights.cuh"
#include "ops/cuda/launch/arguments.h"
#include "ops/cuda/launch/dequantize_weights.h"

namespace intaglio::cuda {
namespace {

unsigned blocks_for(int64_t units) {
  constexpr int64_t kOfBlock = kDequantizeThreads * kDequantizePieces;
  return static_cast<unsigned>((units + kOfBlock - 1) / kOfBlock);
}

}  // namespace

const char* dequantize_weights_refusal(const DequantizeWeightsParams& p) {
  constexpr int64_t kMostWeights = int64_t{1} << 34;  // pieces are counted in 32 bits
  if (p.n < 1 || p.k < 1) return "n and k must be at least 1";
  if (int64_t{p.n} * p.k > kMostWeights) return "more than 2^34 weights";
  if (p.w == nullptr || p.out == nullptr) return "w or out is null";
  if (!is_aligned(p.out, 16)) return "out is not aligned to 16 bytes";
  switch (p.format) {
    case WeightFormat::kI8:
      if (p.ldw < p.k) return "ldw is below k";
      return p.scale != nullptr ? nullptr : "the scales are null";
    case WeightFormat::kNf4:
      if (!is_aligned(p.w, 16)) return "w is not aligned to 16 bytes";
      return p.scale != nullptr ? nullptr : "the absmax values are null";
    case WeightFormat::kQ8_0:
      if (p.k % kQ8_0Block != 0) return "Q8_0 needs k % 32 == 0";
      return is_aligned(p.w, 16) ? nullptr : "w is not aligned to 16 bytes";
  }
  return "unknown format";
}

cudaError_t dequantize_weights(const DequantizeWeightsParams& p, cudaStream_t stream) {
  if (dequantize_weights_refusal(p) != nullptr) return cudaErrorInvalidValue;
  const int64_t count = int64_t{p.n} * p.k;
  switch (p.format) {
    case WeightFormat::kI8:
      if (p.k % kPieceWeights == 0 && p.ldw % kPieceWeights == 0 && is_aligned(p.w, 8)) {
        const unsigned blocks = blocks_for(count / kPieceWeights);
        dequantize_i8_kernel<true><<<blocks, kDequantizeThreads, 0, stream>>>(p);
      } else {
        dequantize_i8_kernel<false><<<blocks_for(count), kDequantizeThreads, 0, stream>>>(p);
      }
      break;
    case WeightFormat::kNf4: {
      // Block 0 also makes what is left of less than a piece.
      const unsigned blocks = std::max(blocks_for(count / kPieceWeights), 1u);
      dequantize_nf4_kernel<<<blocks, kDequantizeThreads, 0, stream>>>(p);
      break;
    }
    case WeightFormat::kQ8_0: {
      const int64_t tiles = (count / kQ8_0Block + kQ8_0TileBlocks - 1) / kQ8_0TileBlocks;
      dequantize_q8_0_kernel<<<static_cast<unsigned>(tiles), kDequantizeThreads, 0, stream>>>(p);
      break;
    }
  }
  return cudaPeekAtLastError();
}

}  // namespace intaglio::cuda
