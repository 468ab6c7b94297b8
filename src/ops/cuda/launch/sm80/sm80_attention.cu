#include <array>
#include <tuple>
#include <utility>

#include "ops/cuda/kernels/sm80_attention.cuh"
#include "ops/cuda/launch/arguments.h"
#include "ops/cuda/launch/dynamic_shared.h"
#include "ops/cuda/launch/sm80_attention.h"

namespace intaglio::cuda {
namespace {

using Type = Sm80AttentionType;

// "d256_128x32_4_q8"
template <class C>
struct ConfigName {
  static constexpr std::array<char, 40> kText = [] {
    std::array<char, 40> text{};
    size_t length = 0;
    const auto put = [&](const char* part, int number) {
      while (*part != 0) text[length++] = *part++;
      int power = 1;
      while (number / power >= 10) power *= 10;
      for (; power > 0; power /= 10) text[length++] = static_cast<char>('0' + number / power % 10);
    };
    put("d", C::kHeadDim);
    put("_", C::kTileQ);
    put("x", C::kTileKeys);
    put("_", C::kSlots);
    put("_q", C::kHeldQ);
    return text;
  }();
};

using LaunchFunction = cudaError_t (*)(const AttentionParams&, int head_group, cudaStream_t);

template <class C>
cudaError_t launch_config(const AttentionParams& p, int head_group, cudaStream_t stream) {
  const cudaError_t status = allow_dynamic_shared(sm80_attention_kernel<C>, C::kSmemBytes);
  if (status != cudaSuccess) return status;
  const Sm80AttentionArgs args = sm80_attention_args<C>(p, head_group);
  sm80_attention_kernel<C><<<args.tiles_q * p.heads, C::kThreads, C::kSmemBytes, stream>>>(args);
  return cudaPeekAtLastError();
}

// Numbers and launchers of a list, from the types that compile it, so that they cannot disagree.
template <class List>
struct Table;
template <class... C>
struct Table<std::tuple<C...>> {
  static constexpr std::array<Sm80AttentionInfo, sizeof...(C)> kInfos = {
      Sm80AttentionInfo{.name = ConfigName<C>::kText.data(),
                        .head_dim = C::kHeadDim,
                        .tile_q = C::kTileQ,
                        .tile_keys = C::kTileKeys,
                        .slots = C::kSlots,
                        .threads = C::kThreads,
                        .smem_bytes = C::kSmemBytes,
                        .ctas_per_sm = C::kCtasPerSm}...};
  static constexpr std::array<LaunchFunction, sizeof...(C)> kLaunchers = {launch_config<C>...};
};

// sm80_attention_choice takes the first config of a head size and tile that fits: one behind it
// must need less shared memory.
template <class List>
constexpr bool all_can_run() {
  constexpr auto& infos = Table<List>::kInfos;
  for (size_t i = 0; i < infos.size(); ++i)
    for (size_t j = 0; j < i; ++j)
      if (infos[i].head_dim == infos[j].head_dim && infos[i].tile_q >= infos[j].tile_q &&
          infos[i].smem_bytes >= infos[j].smem_bytes)
        return false;
  return true;
}
static_assert(all_can_run<Sm80S8AttentionConfigs>() &&
                  all_can_run<Sm80S8ValuesAttentionConfigs>() &&
                  all_can_run<Sm80BF16AttentionConfigs>(),
              "a config that is never chosen costs time to compile");

Sm80AttentionDevice this_device() {
  return {.sms = device_attribute(cudaDevAttrMultiProcessorCount),
          .block_smem_bytes = device_attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin),
          .sm_smem_bytes = device_attribute(cudaDevAttrMaxSharedMemoryPerMultiprocessor),
          .l2_bytes = device_attribute(cudaDevAttrL2CacheSize)};
}

const char* params_refusal(Type type, const AttentionParams& p) {
  const bool s8 = type != Type::kBF16, s8_values = type == Type::kS8Values;
  if (p.tokens < 1 || p.heads < 1 || p.kv_heads < 1 || p.heads % p.kv_heads != 0)
    return "tokens, heads and kv_heads must be >= 1 and heads a multiple of kv_heads";
  if (p.head_dim != 64 && p.head_dim != 128 && p.head_dim != 256)
    return "head_dim must be 64, 128 or 256";
  if (p.q == nullptr || p.k == nullptr || p.v == nullptr || p.out == nullptr)
    return "q, k, v and out must be given";
  if (s8 && (p.q_scale == nullptr || p.k_scale == nullptr))
    return "int8 attention needs q_scale and k_scale";
  if (s8_values && (p.v_scale == nullptr || p.v_mean == nullptr))
    return "int8 values need v_scale and v_mean";
  if (s8_values && (!is_aligned(p.v_scale, 8) || !is_aligned(p.v_mean, 8)))
    return "v_scale and v_mean must be multiples of 8 bytes";
  if (s8_values && p.causal != 0) return "int8 values have no causal mask";
  if (!is_aligned(p.q, 16) || !is_aligned(p.k, 16) || !is_aligned(p.v, 16) ||
      !is_aligned(p.out, 16))
    return "q, k, v and out must be multiples of 16 bytes";
  if ((!s8 && (p.ldq % 8 != 0 || p.ldk % 8 != 0)) || (!s8_values && p.ldv % 8 != 0) ||
      p.ldo % 8 != 0)
    return "strides must be multiples of 16 bytes";
  const int64_t q_width = int64_t{p.heads} * p.head_dim, k_width = int64_t{p.kv_heads} * p.head_dim;
  if ((!s8 && (p.ldq < q_width || p.ldk < k_width)) || (!s8_values && p.ldv < k_width) ||
      p.ldo < q_width)
    return "strides must hold all heads of a token";
  // Offsets are 32 bits wide, those of the tiles past the last one too.
  constexpr int64_t kMost = 0xffffffff, kTilesAhead = 1024;
  const int64_t k_bytes = s8 ? int64_t{p.kv_heads} * p.head_dim : p.ldk * 2;
  const int64_t v_bytes = s8_values ? k_bytes : p.ldv * 2;
  if ((p.tokens + kTilesAhead) * k_bytes > kMost || (p.tokens + kTilesAhead) * v_bytes > kMost)
    return "k or v spans 4 GiB or more";
  return nullptr;
}

}  // namespace

std::span<const Sm80AttentionInfo> sm80_attention_configs(Type type) {
  if (type == Type::kS8) return Table<Sm80S8AttentionConfigs>::kInfos;
  if (type == Type::kS8Values) return Table<Sm80S8ValuesAttentionConfigs>::kInfos;
  return Table<Sm80BF16AttentionConfigs>::kInfos;
}

int sm80_attention_choice(std::span<const Sm80AttentionInfo> configs, const AttentionParams& p,
                          const Sm80AttentionDevice& device) {
  int chosen = -1;
  bool fills = false;
  for (size_t i = 0; i < configs.size(); ++i) {
    const Sm80AttentionInfo& c = configs[i];
    if (c.head_dim != p.head_dim || c.smem_bytes > device.block_smem_bytes) continue;
    const bool smaller =
        chosen >= 0 && !fills && c.tile_q < configs[static_cast<size_t>(chosen)].tile_q;
    if (chosen >= 0 && !smaller) continue;
    chosen = static_cast<int>(i);
    fills = div_up(p.tokens, c.tile_q) * p.heads >= device.sms;
  }
  return chosen;
}

int sm80_attention_head_group(Type type, const AttentionParams& p, int l2_bytes) {
  // All blocks of a head follow each other; with causal masks as many heads as half of L2 holds, so
  // that their longest blocks come first together.
  if (p.causal == 0) return 1;
  const int64_t token_bytes = int64_t{p.head_dim} * (type == Type::kBF16 ? 4
                                                     : type == Type::kS8 ? 3
                                                                         : 2);
  const int64_t fit = l2_bytes / 2 / (token_bytes * p.tokens);
  const int64_t kv_heads = fit < 1 ? 1 : fit < p.kv_heads ? fit : p.kv_heads;
  return static_cast<int>(kv_heads) * (p.heads / p.kv_heads);
}

const char* sm80_attention_refusal(Type type, const AttentionParams& p, int config) {
  const auto configs = sm80_attention_configs(type);
  if (config < 0 || config >= static_cast<int>(configs.size())) return "there is no such config";
  if (const char* reason = params_refusal(type, p)) return reason;
  const Sm80AttentionInfo& c = configs[static_cast<size_t>(config)];
  if (c.head_dim != p.head_dim) return "the config is for another head size";
  if (div_up(p.tokens, c.tile_q) * p.heads > 0x7fffffff) return "too many blocks";
  if (device_attribute(cudaDevAttrComputeCapabilityMajor) < 8) return "needs sm_80 or newer";
  if (c.smem_bytes > device_attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin))
    return "the device has too little shared memory for this config";
  return nullptr;
}

cudaError_t sm80_attention(Type type, const AttentionParams& p, int config, cudaStream_t stream) {
  if (sm80_attention_refusal(type, p, config) != nullptr) return cudaErrorInvalidValue;
  const int group = sm80_attention_head_group(type, p, device_attribute(cudaDevAttrL2CacheSize));
  const auto index = static_cast<size_t>(config);
  if (type == Type::kS8) return Table<Sm80S8AttentionConfigs>::kLaunchers[index](p, group, stream);
  if (type == Type::kS8Values)
    return Table<Sm80S8ValuesAttentionConfigs>::kLaunchers[index](p, group, stream);
  return Table<Sm80BF16AttentionConfigs>::kLaunchers[index](p, group, stream);
}

namespace {

int choice(Type type, const AttentionParams& p) {
  return sm80_attention_choice(sm80_attention_configs(type), p, this_device());
}

const char* refusal(Type type, const AttentionParams& p) {
  if (const char* reason = params_refusal(type, p)) return reason;
  if (device_attribute(cudaDevAttrComputeCapabilityMajor) < 8) return "needs sm_80 or newer";
  const int config = choice(type, p);
  if (config < 0) return "the device has too little shared memory";
  return sm80_attention_refusal(type, p, config);
}

cudaError_t run(Type type, const AttentionParams& p, cudaStream_t stream) {
  if (params_refusal(type, p) != nullptr) return cudaErrorInvalidValue;
  return sm80_attention(type, p, choice(type, p), stream);
}

}  // namespace

const char* sm80_attention_tile(Type type, const AttentionParams& p) {
  return refusal(type, p) == nullptr
             ? sm80_attention_configs(type)[static_cast<size_t>(choice(type, p))].name
             : "";
}

const char* sm80_bf16_attention_refusal(const AttentionParams& p) {
  return refusal(Type::kBF16, p);
}
const char* sm80_s8_attention_refusal(const AttentionParams& p) { return refusal(Type::kS8, p); }
const char* sm80_s8_values_attention_refusal(const AttentionParams& p) {
  return refusal(Type::kS8Values, p);
}

cudaError_t sm80_bf16_attention(const AttentionParams& p, cudaStream_t stream) {
  return run(Type::kBF16, p, stream);
}
cudaError_t sm80_s8_attention(const AttentionParams& p, cudaStream_t stream) {
  return run(Type::kS8, p, stream);
}
cudaError_t sm80_s8_values_attention(const AttentionParams& p, cudaStream_t stream) {
  return run(Type::kS8Values, p, stream);
}

}  // namespace intaglio::cuda
