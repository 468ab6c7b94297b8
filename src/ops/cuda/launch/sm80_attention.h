// Launchers of kernels/sm80_attention.cuh: sm_80 and up, head sizes 64, 128, 256. They allocate
// nothing, wait for nothing, and may be captured into a graph.
#pragma once

#include <cuda_runtime_api.h>

#include <span>

#include "ops/cuda/attention_params.h"

namespace intaglio::cuda {

// nullptr, or why the kernel cannot run these parameters on the current device.
const char* sm80_bf16_attention_refusal(const AttentionParams& p);
const char* sm80_s8_attention_refusal(const AttentionParams& p);
const char* sm80_s8_values_attention_refusal(const AttentionParams& p);

// cudaErrorInvalidValue where the refusal has a reason.
cudaError_t sm80_bf16_attention(const AttentionParams& p, cudaStream_t stream);
cudaError_t sm80_s8_attention(const AttentionParams& p, cudaStream_t stream);
cudaError_t sm80_s8_values_attention(const AttentionParams& p, cudaStream_t stream);

// The compiled configs, for benchmarks and tests.
enum class Sm80AttentionType { kBF16, kS8, kS8Values };
struct Sm80AttentionInfo {
  const char* name;  // "d<head_dim>_<tile_q>x<tile_keys>_<slots>_q<held>"
  int head_dim, tile_q, tile_keys, slots, threads, smem_bytes, ctas_per_sm;
};
std::span<const Sm80AttentionInfo> sm80_attention_configs(Sm80AttentionType type);

// What the choice looks at of a device.
struct Sm80AttentionDevice {
  int sms, block_smem_bytes, sm_smem_bytes;
  int l2_bytes;
};

// The config for these parameters: of those of the head size that fit, the first; but where its
// blocks do not fill the device, the one of the smallest tile of queries. -1: none. Pure.
int sm80_attention_choice(std::span<const Sm80AttentionInfo> configs, const AttentionParams& p,
                          const Sm80AttentionDevice& device);

// Heads whose blocks run side by side (AttentionBlock). Pure.
int sm80_attention_head_group(Sm80AttentionType type, const AttentionParams& p, int l2_bytes);

// The name of the config that the launches above take on the current device; "" if refused.
const char* sm80_attention_tile(Sm80AttentionType type, const AttentionParams& p);

// As above with a config of one's own.
const char* sm80_attention_refusal(Sm80AttentionType type, const AttentionParams& p, int config);
cudaError_t sm80_attention(Sm80AttentionType type, const AttentionParams& p, int config,
                           cudaStream_t stream);

}  // namespace intaglio::cuda
