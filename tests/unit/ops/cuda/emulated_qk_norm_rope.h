// The norm and rotation of q and k as ops/cuda/launch launches them, run on the CPU
// (row_emulation.h).
#pragma once

#include "row_emulation.h"
// Kernels after the emulation, which defines what they are written in.
#include "ops/cuda/kernels/qk_norm_rope.cuh"
#include "ops/cuda/kernels/slow_qk_norm_rope.cuh"

namespace intaglio::cuda {

inline void run_key_means(const QkNormRopeParams& p) {
  const int slices = (p.head_dim + kKeyMeanChannels - 1) / kKeyMeanChannels;
  run_grid(int64_t{p.kv_heads} * slices, kKeyMeanChannels * kKeyMeanRows, [=] { key_means(p); });
}

template <class Type, int kHeadDim, HeadSteps kSteps>
void run_steps(const QkNormRopeParams& p) {
  if (p.q8 == nullptr) {
    run_grid(p.tokens, kNormRopeThreads, [=] { norm_rope_tokens<Type, kHeadDim, kSteps>(p); });
    return;
  }
  constexpr int kKeyHeads = HeadConfig<kHeadDim>::kKeyHeads;
  run_grid(
      key_blocks(p) * ((p.kv_heads + kKeyHeads - 1) / kKeyHeads) + (p.heads > 0 ? p.tokens : 0),
      kNormRopeThreads, [=] { norm_rope_int8<Type, kHeadDim, kSteps>(p); });
  run_key_means(p);
  run_grid(key_blocks(p) * p.kv_heads, kQuantizeKeysThreads,
           [=] { quantize_keys<Type, kHeadDim>(p); });
}

template <class Type, int kHeadDim>
void run_fast(const QkNormRopeParams& p) {
  switch (head_steps(p)) {
    case HeadSteps::kHalves:
      return run_steps<Type, kHeadDim, HeadSteps::kHalves>(p);
    case HeadSteps::kAdjacent:
      return run_steps<Type, kHeadDim, HeadSteps::kAdjacent>(p);
    case HeadSteps::kAsked:
      return run_steps<Type, kHeadDim, HeadSteps::kAsked>(p);
  }
}

template <class Type>
void run_type(const QkNormRopeParams& p, bool slow) {
  if (slow) {
    run_grid(5, kNormRopeThreads, [=] { slow_norm_rope<Type>(p); });
    if (p.q8 == nullptr) return;
    run_grid(key_blocks(p) * p.kv_heads, kNormRopeThreads, [=] { slow_key_sums<Type>(p); });
    run_key_means(p);
    run_grid(key_blocks(p) * p.kv_heads, kNormRopeThreads, [=] { slow_quantize_keys<Type>(p); });
  } else if (p.head_dim == 64) {
    run_fast<Type, 64>(p);
  } else if (p.head_dim == 128) {
    run_fast<Type, 128>(p);
  } else {
    run_fast<Type, 256>(p);
  }
}

}  // namespace intaglio::cuda
