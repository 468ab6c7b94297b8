// Group norm of a channels-last picture in two reads and one write.
//
// Formula and numeric contract: ops/cuda/group_norm_params.h. Every architecture from sm_75 runs
// the same code. Three launches:
//
//   group_norm_sums    blocks of consecutive pixels -> sum and sum of squares by group, float64 [blocks, groups, 2]
//   group_norm_finish  a block a group: the blocks' sums in a fixed order -> mean and weight / sqrt(var + eps) by channel
//   group_norm_apply   blocks of consecutive pixels, last first: what the sums read last is still in L2
//
// A thread keeps its 16 bytes of channels from pixel to pixel, so it needs no index arithmetic and
// holds shifts, sums, means and factors of its channels in registers:
//
//   pixel      | piece 0 | piece 1 | ... | piece C/P - 1 |        P = 8 channels (bf16) or 4 (f32)
//   block:      threads 0 .. C/P - 1 on the first pixel, the next C/P on the second ..., rows = 256 / (C/P) pixels a step
//
// Sums are taken about the thread's first pixel, channel by channel: a value near the mean, so that
// squares do not cancel. Threads then turn them into sums about zero in float64, where cancelling
// costs nothing.
// Bound by memory: bf16 2 bytes an element for the sums, 4 for the rest; about 4 and 12
// instructions an element of the 11 and 40 that an H100 has issue slots for. Other channels, odd
// alignments: the *_any kernels, element by element.
#pragma once

#include "ops/cuda/group_norm_params.h"
#include "ops/cuda/kernels/row_pieces.cuh"
#include "ops/cuda/tile/activation.cuh"

namespace intaglio::cuda {

inline constexpr int kGroupNormThreads = 256;
inline constexpr int kGroupNormUnroll = 4;         // pixels a thread has in flight
inline constexpr int kGroupNormApplyRounds = 4;    // of kGroupNormUnroll pixels a thread
inline constexpr int kGroupNormMostBlocks = 1024;  // of group_norm_sums
inline constexpr int kGroupNormFinishThreads = 128;

struct GroupNormArgs {
  GroupNormParams p;
  int32_t blocks;           // of group_norm_sums
  int64_t pixels_of_block;  // of all blocks but the last, which may have fewer or none
};

// The workspace: float64 sums [blocks, groups, 2], then floats mean [channels] and factor
// [channels].
__device__ __forceinline__ double* group_sums(const GroupNormArgs& a) {
  return static_cast<double*>(a.p.workspace);
}
__device__ __forceinline__ float* channel_means(const GroupNormArgs& a) {
  return reinterpret_cast<float*>(group_sums(a) + int64_t{a.blocks} * a.p.groups * 2);
}
__device__ __forceinline__ float* channel_factors(const GroupNormArgs& a) {
  return channel_means(a) + a.p.channels;
}

template <class Type>
struct ChannelPiece {
  using P = Piece<Type, 16 / Type::kBytes>;
  static constexpr int kElements = P::kElements;
};

// Plain loads: y may be x.
template <class Type, RowRead kRead>
__device__ __forceinline__ typename ChannelPiece<Type>::P load_channels(const void* x, int64_t at,
                                                                        bool valid) {
  auto piece = zero_piece<typename ChannelPiece<Type>::P>();
  if (valid) {
    const auto* from =
        reinterpret_cast<const uint4*>(static_cast<const char*>(x) + at * Type::kBytes);
    const uint4 words = kRead == RowRead::kOnce ? __ldcs(from) : __ldcg(from);
    piece.word[0] = words.x, piece.word[1] = words.y;
    piece.word[2] = words.z, piece.word[3] = words.w;
  }
  return piece;
}

// Where a thread stands in a block.
struct ThreadPlace {
  int channel;
  int rows;  // pixels a step of the block
  int row;   // of the thread; rows and above: the thread is idle
};

template <class Type>
__device__ __forceinline__ ThreadPlace thread_place(int channels) {
  const int pieces = channels / ChannelPiece<Type>::kElements;
  const int thread = threadIdx.x;
  return {thread % pieces * ChannelPiece<Type>::kElements, kGroupNormThreads / pieces,
          thread / pieces};
}

// Sums of `count` values about `shift`, turned into sums about zero.
__device__ __forceinline__ double sum_about_zero(float sum, float shift, int64_t count) {
  return static_cast<double>(sum) + static_cast<double>(count) * static_cast<double>(shift);
}
__device__ __forceinline__ double squares_about_zero(float squares, float sum, float shift,
                                                     int64_t count) {
  const double s = shift;
  return static_cast<double>(squares) +
         s * (2.0 * static_cast<double>(sum) + static_cast<double>(count) * s);
}

template <class Type>
__global__ void __launch_bounds__(kGroupNormThreads, 3)
    group_norm_sums(const __grid_constant__ GroupNormArgs a) {
  constexpr int kElements = ChannelPiece<Type>::kElements;
  __shared__ double by_channel[kGroupNormThreads * kElements];  // [rows, channels]
  const GroupNormParams& p = a.p;
  const ThreadPlace place = thread_place<Type>(p.channels);
  const int64_t begin = int64_t{blockIdx.x} * a.pixels_of_block;
  const int64_t end = min(begin + a.pixels_of_block, p.pixels);
  const int64_t first = place.row < place.rows ? begin + place.row : end;

  float shift[kElements] = {}, sum[kElements] = {}, squares[kElements] = {};
  int64_t count = 0;
  if (first < end) {
    unpack<Type>(
        load_channels<Type, RowRead::kAgain>(p.x, first * p.channels + place.channel, true), shift);
    count = (end - first + place.rows - 1) / place.rows;
  }
#pragma unroll 1
  for (int64_t base = first; base < end; base += int64_t{kGroupNormUnroll} * place.rows) {
    typename ChannelPiece<Type>::P raw[kGroupNormUnroll];
#pragma unroll
    for (int u = 0; u < kGroupNormUnroll; ++u) {
      const int64_t pixel = base + u * place.rows;
      raw[u] = load_channels<Type, RowRead::kAgain>(p.x, pixel * p.channels + place.channel,
                                                    pixel < end);
    }
#pragma unroll
    for (int u = 0; u < kGroupNormUnroll; ++u) {
      if (base + u * place.rows >= end) break;
      float v[kElements];
      unpack<Type>(raw[u], v);
#pragma unroll
      for (int e = 0; e < kElements; ++e) {
        const float d = __fsub_rn(v[e], shift[e]);
        sum[e] = __fadd_rn(sum[e], d);
        squares[e] = __fmaf_rn(d, d, squares[e]);
      }
    }
  }

  const int size = p.channels / p.groups;
  double* const to = group_sums(a) + int64_t{blockIdx.x} * p.groups * 2;
#pragma unroll
  for (int moment = 0; moment < 2; ++moment) {
    if (moment == 1) __syncthreads();  // the sums have been read
#pragma unroll
    for (int e = 0; e < kElements; ++e)
      by_channel[threadIdx.x * kElements + e] =
          moment == 0 ? sum_about_zero(sum[e], shift[e], count)
                      : squares_about_zero(squares[e], sum[e], shift[e], count);
    __syncthreads();
    for (int group = threadIdx.x; group < p.groups; group += kGroupNormThreads) {
      double total = 0.0;
      for (int row = 0; row < place.rows; ++row) {
        for (int c = 0; c < size; ++c) total += by_channel[row * p.channels + group * size + c];
      }
      to[group * 2 + moment] = total;
    }
  }
}

// Adds the block's values in a fixed order; all threads get the result. `shared` holds a value a
// thread.
template <int kThreads>
__device__ __forceinline__ double block_sum_f64(double value, double* shared) {
  __syncthreads();  // a previous use has been read
  shared[threadIdx.x] = value;
  for (int half = kThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (static_cast<int>(threadIdx.x) < half) shared[threadIdx.x] += shared[threadIdx.x + half];
  }
  __syncthreads();
  return shared[0];
}

// A block a group.
static __global__ void __launch_bounds__(kGroupNormFinishThreads)
    group_norm_finish(const __grid_constant__ GroupNormArgs a) {
  __shared__ double shared[kGroupNormFinishThreads];
  const GroupNormParams& p = a.p;
  const int group = blockIdx.x, size = p.channels / p.groups;
  double sum = 0.0, squares = 0.0;
  for (int block = threadIdx.x; block < a.blocks; block += kGroupNormFinishThreads) {
    const double* const from = group_sums(a) + (int64_t{block} * p.groups + group) * 2;
    sum += from[0];
    squares += from[1];
  }
  sum = block_sum_f64<kGroupNormFinishThreads>(sum, shared);
  squares = block_sum_f64<kGroupNormFinishThreads>(squares, shared);
  const double count = static_cast<double>(p.pixels) * size;
  const double mean = sum / count;
  const double variance = squares / count - mean * mean;
  // Below zero by rounding only; NaN stays.
  const double inverse = 1.0 / sqrt((variance < 0.0 ? 0.0 : variance) + static_cast<double>(p.eps));
  for (int c = group * size + threadIdx.x; c < (group + 1) * size; c += kGroupNormFinishThreads) {
    channel_means(a)[c] = static_cast<float>(mean);
    channel_factors(a)[c] = static_cast<float>(inverse * static_cast<double>(p.weight[c]));
  }
}

// kFast: for outputs of 16 bits, exp by one instruction.
template <bool kFast>
__device__ __forceinline__ float normed(float x, float mean, float factor, float bias, bool silu) {
  const float v = __fmaf_rn(__fsub_rn(x, mean), factor, bias);
  if (!silu) return v;
  return kFast ? activate<FastMath>(Silu{}, v) : activate<ExactMath>(Silu{}, v);
}

template <class Type, bool kSilu>
__global__ void __launch_bounds__(kGroupNormThreads)
    group_norm_apply(const __grid_constant__ GroupNormArgs a) {
  constexpr int kElements = ChannelPiece<Type>::kElements;
  const GroupNormParams& p = a.p;
  const ThreadPlace place = thread_place<Type>(p.channels);
  if (place.row >= place.rows) return;
  const int64_t block = int64_t{gridDim.x} - 1 - blockIdx.x;
  const int64_t of_block = int64_t{place.rows} * kGroupNormUnroll * kGroupNormApplyRounds;
  const int64_t first = block * of_block + place.row;

  float mean[kElements], factor[kElements], bias[kElements];
#pragma unroll
  for (int e = 0; e < kElements; e += kRowPiece) {
    const auto load_four = [&](const float* from, float* to) {
      const float4 four = __ldg(reinterpret_cast<const float4*>(from + place.channel + e));
      to[e] = four.x, to[e + 1] = four.y, to[e + 2] = four.z, to[e + 3] = four.w;
    };
    load_four(channel_means(a), mean);
    load_four(channel_factors(a), factor);
    load_four(p.bias, bias);
  }
#pragma unroll 1
  for (int round = 0; round < kGroupNormApplyRounds; ++round) {
    const int64_t base = first + int64_t{round} * kGroupNormUnroll * place.rows;
    typename ChannelPiece<Type>::P raw[kGroupNormUnroll];
#pragma unroll
    for (int u = 0; u < kGroupNormUnroll; ++u) {
      const int64_t pixel = base + u * place.rows;
      raw[u] = load_channels<Type, RowRead::kOnce>(p.x, pixel * p.channels + place.channel,
                                                   pixel < p.pixels);
    }
#pragma unroll
    for (int u = 0; u < kGroupNormUnroll; ++u) {
      const int64_t pixel = base + u * place.rows;
      if (pixel >= p.pixels) return;
      float v[kElements];
      unpack<Type>(raw[u], v);
#pragma unroll
      for (int e = 0; e < kElements; ++e)
        v[e] = normed<Type::kBytes == 2>(v[e], mean[e], factor[e], bias[e], kSilu);
      uint4 words;
      if constexpr (Type::kBytes == 2) {
        words = make_uint4(bf16_words(v[0], v[1]), bf16_words(v[2], v[3]), bf16_words(v[4], v[5]),
                           bf16_words(v[6], v[7]));
      } else {
        words = make_uint4(__float_as_uint(v[0]), __float_as_uint(v[1]), __float_as_uint(v[2]),
                           __float_as_uint(v[3]));
      }
      *reinterpret_cast<uint4*>(static_cast<char*>(p.y) +
                                (pixel * p.channels + place.channel) * Type::kBytes) = words;
    }
  }
}

// --- any channels, any alignment ---

template <class Type>
__device__ __forceinline__ float load_channel(const void* x, int64_t at) {
  if constexpr (Type::kBytes == 4) {
    return static_cast<const float*>(x)[at];
  } else {
    return __uint_as_float(uint32_t{static_cast<const uint16_t*>(x)[at]} << 16);
  }
}

// blockIdx.y is the group.
template <class Type>
__global__ void __launch_bounds__(kGroupNormThreads)
    group_norm_sums_any(const __grid_constant__ GroupNormArgs a) {
  __shared__ double shared[kGroupNormThreads];
  const GroupNormParams& p = a.p;
  const int group = blockIdx.y, size = p.channels / p.groups;
  const int64_t begin = int64_t{blockIdx.x} * a.pixels_of_block;
  const int64_t end = min(begin + a.pixels_of_block, p.pixels);
  const int64_t elements = begin < end ? (end - begin) * size : 0;
  const auto value = [&](int64_t i) {
    return load_channel<Type>(p.x, (begin + i / size) * p.channels + group * size + i % size);
  };
  float shift = 0.0f, sum = 0.0f, squares = 0.0f;
  int64_t count = 0;
  if (threadIdx.x < elements) shift = value(threadIdx.x);
  for (int64_t i = threadIdx.x; i < elements; i += kGroupNormThreads, ++count) {
    const float d = __fsub_rn(value(i), shift);
    sum = __fadd_rn(sum, d);
    squares = __fmaf_rn(d, d, squares);
  }
  const double total = block_sum_f64<kGroupNormThreads>(sum_about_zero(sum, shift, count), shared);
  const double total_squares =
      block_sum_f64<kGroupNormThreads>(squares_about_zero(squares, sum, shift, count), shared);
  if (threadIdx.x != 0) return;
  double* const to = group_sums(a) + (int64_t{blockIdx.x} * p.groups + group) * 2;
  to[0] = total;
  to[1] = total_squares;
}

template <class Type>
__global__ void __launch_bounds__(kGroupNormThreads)
    group_norm_apply_any(const __grid_constant__ GroupNormArgs a) {
  const GroupNormParams& p = a.p;
  for (int64_t i = int64_t{blockIdx.x} * kGroupNormThreads + threadIdx.x; i < p.pixels * p.channels;
       i += int64_t{gridDim.x} * kGroupNormThreads) {
    const int c = static_cast<int>(i % p.channels);
    const float v = normed<false>(load_channel<Type>(p.x, i), channel_means(a)[c],
                                  channel_factors(a)[c], p.bias[c], p.silu);
    if constexpr (Type::kBytes == 4) {
      static_cast<float*>(p.y)[i] = v;
    } else {
      static_cast<__nv_bfloat16*>(p.y)[i] = __float2bfloat16_rn(v);
    }
  }
}

}  // namespace intaglio::cuda
