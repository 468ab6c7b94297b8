#include <cuda.h>

#include <array>

#include "ops/cuda/kernels/sm90a_attention.cuh"
#include "ops/cuda/launch/arguments.h"
#include "ops/cuda/launch/dynamic_shared.h"
#include "ops/cuda/launch/sm90a_attention.h"
#include "ops/cuda/launch/tensor_map.h"

namespace intaglio::cuda {
namespace {

using ptx::ScoreType;

// q or k of a kernel with int8 scores: [heads, tokens, head_dim] dense; of others, and v: [tokens,
// heads, head_dim], rows `ld` elements apart.
struct Operand {
  const void* data;
  int64_t ld;
  int32_t heads;
  uint32_t box_rows;
  bool s8;
};

bool encode(CUtensorMap& map, const AttentionParams& p, const Operand& o) {
  const int64_t d = p.head_dim;
  if (o.s8)
    return encode_tensor_map<3>(
        map, CU_TENSOR_MAP_DATA_TYPE_UINT8, o.data,
        {{{d, 0, 128}, {p.tokens, d, o.box_rows}, {o.heads, d * p.tokens, 1}}});
  return encode_tensor_map<3>(
      map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, o.data,
      {{{d, 0, 64}, {p.tokens, 2 * o.ld, o.box_rows}, {o.heads, 2 * d, 1}}});
}

template <typename Config>
cudaError_t launch(const AttentionParams& p, cudaStream_t stream) {
  Sm90aAttentionMaps maps{};
  if (!encode(maps.q, p, {p.q, p.ldq, p.heads, Config::kRows, Config::kS8}) ||
      !encode(maps.k, p, {p.k, p.ldk, p.kv_heads, Config::kKeys, Config::kS8}) ||
      !encode(maps.v, p, {p.v, p.ldv, p.kv_heads, Config::kKeys, false}))
    return cudaErrorInvalidValue;
  const AttentionSchedule schedule{.tokens = p.tokens,
                                   .heads = p.heads,
                                   .tile_rows = Config::kRows,
                                   .tile_keys = Config::kKeys,
                                   .causal = p.causal};

  const auto kernel = sm90a_attention<Config>;
  if (const cudaError_t status = allow_dynamic_shared(kernel, Config::kSmemBytes);
      status != cudaSuccess)
    return status;
  kernel<<<static_cast<unsigned>(schedule.blocks()), Config::kThreads, Config::kSmemBytes,
           stream>>>(p, maps, schedule);
  return cudaPeekAtLastError();
}

struct Entry {
  Sm90aAttentionTile tile;
  cudaError_t (*run)(const AttentionParams&, cudaStream_t);
};

template <ScoreType kType, int kHeadDim, int kKeys, int kStagesK, int kStagesV>
constexpr Entry entry(const char* name) {
  using Config = Sm90aAttentionConfig<kType, kHeadDim, kKeys, kStagesK, kStagesV>;
  return {{name, Config::kS8, kHeadDim, kKeys, kStagesK, kStagesV, Config::kSmemBytes},
          launch<Config>};
}

constexpr auto kBF16 = ScoreType::kBF16;
constexpr auto kS8 = ScoreType::kS8;

// One for each score type and head_dim: what won on a card (docs/kernels/attention.md).
constexpr std::array kEntries{
    entry<kBF16, 256, 80, 2, 2>("bf16_d256_k80_2k2v"),
    entry<kBF16, 128, 128, 2, 2>("bf16_d128_k128_2k2v"),
    entry<kBF16, 64, 128, 3, 3>("bf16_d64_k128_3k3v"),
    entry<kS8, 256, 96, 2, 3>("s8_d256_k96_2k3v"),
    entry<kS8, 128, 128, 3, 3>("s8_d128_k128_3k3v"),
    entry<kS8, 64, 128, 3, 3>("s8_d64_k128_3k3v"),
};

constexpr auto kTiles = [] {
  std::array<Sm90aAttentionTile, kEntries.size()> tiles{};
  for (size_t i = 0; i < tiles.size(); ++i) tiles[i] = kEntries[i].tile;
  return tiles;
}();

static_assert(
    [] {
      for (size_t i = 0; i < kTiles.size(); ++i)
        for (size_t j = 0; j < i; ++j)
          if (kTiles[i].s8 == kTiles[j].s8 && kTiles[i].head_dim == kTiles[j].head_dim)
            return false;
      return true;
    }(),
    "the choice takes the first of a score type and head_dim: a second one never runs");

// A token stride of 16-bit elements: tokens do not overlap, and the copy engine can address it.
bool stride_fits(int64_t ld, int64_t columns) {
  return ld % 8 == 0 && ld >= columns && 2 * ld < int64_t{1} << 40;
}

const char* refusal(const AttentionParams& p, bool s8) {
  if (p.head_dim != 64 && p.head_dim != 128 && p.head_dim != 256)
    return "head_dim must be 64, 128 or 256";
  if (p.tokens < 1 || p.heads < 1 || p.kv_heads < 1)
    return "tokens, heads and kv_heads must be at least 1";
  if (p.heads % p.kv_heads != 0) return "heads must be a multiple of kv_heads";
  constexpr int32_t kMostTokens = 1 << 30;
  if (p.tokens > kMostTokens || (int64_t{p.tokens} / 128 + 2) * p.heads > int64_t{1} << 30)
    return "tokens x heads is more than 2^37";
  if (!is_aligned(p.q, 16) || !is_aligned(p.k, 16) || !is_aligned(p.v, 16) ||
      !is_aligned(p.out, 16))
    return "q, k, v and out must be 16-byte aligned";
  const int64_t columns = int64_t{p.heads} * p.head_dim,
                kv_columns = int64_t{p.kv_heads} * p.head_dim;
  if (!stride_fits(p.ldv, kv_columns) || !stride_fits(p.ldo, columns))
    return "ldv and ldo must be multiples of 8 and hold all heads";
  if (s8)
    return p.q_scale == nullptr || p.k_scale == nullptr ? "q_scale and k_scale are needed"
                                                        : nullptr;
  if (!stride_fits(p.ldq, columns) || !stride_fits(p.ldk, kv_columns))
    return "ldq and ldk must be multiples of 8 and hold all heads";
  return nullptr;
}

cudaError_t run(const AttentionParams& p, bool s8, cudaStream_t stream) {
  return sm90a_attention_with(p, sm90a_attention_choice(p, s8), stream);
}

}  // namespace

const char* sm90a_bf16_attention_refusal(const AttentionParams& p) { return refusal(p, false); }
const char* sm90a_s8_attention_refusal(const AttentionParams& p) { return refusal(p, true); }

std::span<const Sm90aAttentionTile> sm90a_attention_tiles() { return kTiles; }

int sm90a_attention_choice(const AttentionParams& p, bool s8) {
  if (refusal(p, s8) != nullptr) return -1;
  for (size_t i = 0; i < kTiles.size(); ++i) {
    if (kTiles[i].s8 == s8 && kTiles[i].head_dim == p.head_dim) return static_cast<int>(i);
  }
  return -1;
}

const char* sm90a_attention_tile(const AttentionParams& p, bool s8) {
  const int choice = sm90a_attention_choice(p, s8);
  return choice < 0 ? "" : kTiles[static_cast<size_t>(choice)].name;
}

cudaError_t sm90a_attention_with(const AttentionParams& p, int tile, cudaStream_t stream) {
  if (tile < 0 || tile >= static_cast<int>(kEntries.size())) return cudaErrorInvalidValue;
  const Entry& entry = kEntries[static_cast<size_t>(tile)];
  if (entry.tile.head_dim != p.head_dim || refusal(p, entry.tile.s8) != nullptr)
    return cudaErrorInvalidValue;
  return entry.run(p, stream);
}

cudaError_t sm90a_bf16_attention(const AttentionParams& p, cudaStream_t stream) {
  return run(p, false, stream);
}

cudaError_t sm90a_s8_attention(const AttentionParams& p, cudaStream_t stream) {
  return run(p, true, stream);
}

}  // namespace intaglio::cuda
