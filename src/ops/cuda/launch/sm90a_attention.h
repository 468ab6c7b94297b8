// Launches of Hopper's attention kernels (sm_90a only). Host side only. Formula, layouts,
// alignment: ops/cuda/attention_params.h. Neither allocates nor synchronises; both can be captured.
#pragma once

#include <cuda_runtime_api.h>

#include <span>

#include "ops/cuda/attention_params.h"

namespace intaglio::cuda {

// nullptr if the kernel can serve `p`, else why not. bf16: q, k, v and out are bf16. s8: q and k
// are int8 with scales, v and out bf16.
const char* sm90a_bf16_attention_refusal(const AttentionParams& p);
const char* sm90a_s8_attention_refusal(const AttentionParams& p);

// cudaErrorInvalidValue if refused.
cudaError_t sm90a_bf16_attention(const AttentionParams& p, cudaStream_t stream);
cudaError_t sm90a_s8_attention(const AttentionParams& p, cudaStream_t stream);

// The tiles there are, one for each score type and head_dim.
struct Sm90aAttentionTile {
  const char* name;  // "s8_d256_k96_2k3v": keys of a tile, stages of K and V
  bool s8;
  int head_dim, keys, stages_k, stages_v;
  int smem_bytes;
};
std::span<const Sm90aAttentionTile> sm90a_attention_tiles();
int sm90a_attention_choice(const AttentionParams& p, bool s8);  // an index into them; -1: refused
const char* sm90a_attention_tile(const AttentionParams& p, bool s8);  // its name; "" if refused
cudaError_t sm90a_attention_with(const AttentionParams& p, int tile, cudaStream_t stream);

}  // namespace intaglio::cuda
