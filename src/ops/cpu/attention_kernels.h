// What the attention driver hands to the kernels of an instruction set. Plain data only: this
// header is compiled with every set of flags.
//
// One task is a block of query rows of one head. It walks blocks of keys and keeps, per row, the
// largest logit so far, the sum of exp(logit - largest) and the same sum weighted by v (float32 in
// every kernel), so that no [tokens, tokens] matrix ever exists.
//
// Packed K of one kv head: panels of `panel` keys (the last one narrower), each [depth_padded][keys
// of the panel]; bf16 kernels keep
//   two consecutive depths of a key together: [depth_padded / 2][keys][2].
// Packed V of one kv head: panels of `panel` columns (the last one narrower), each
// [keys_padded][columns of the panel]; bf16 kernels
//   keep two consecutive keys of a column together: [keys_padded / 2][columns][2].
// Padding is zero in both.
//
// A NaN in q shows in its row, one in k or v in every row that sees its token. Under a causal mask
// a NaN or Inf of v may also reach earlier rows of the same block (the weight of a hidden key is 0,
// and 0 * NaN is NaN).
#pragma once

#include <cstdint>

namespace intaglio {

struct AttentionGeometry {
  int64_t keys = 0;  // tokens of k and v
  int64_t head_dim = 0;
  int64_t keys_padded = 0;   // keys, rounded up
  int64_t depth_padded = 0;  // head_dim as the depth of q . k, rounded up
  int64_t cols_padded = 0;   // head_dim as the width of v, rounded up
  float scale_log2 = 0.0f;   // log2(e) / sqrt(head_dim): the kernels use exp2
  bool causal = false;
  bool bf16 = false;  // type of q, k, v and out in the caller's memory
};

struct AttentionPackArgs {
  const void* source = nullptr;  // token 0 of the head
  int64_t ld = 0;                // token stride in elements
  int64_t begin = 0, end = 0;  // tokens to pack; begin is a multiple of 64, and so is end unless it
                               // is the last token
  void* packed = nullptr;      // the whole head
};

struct AttentionBlockArgs {
  const void* q = nullptr;  // token 0 of the head
  int64_t ldq = 0;
  int64_t row = 0, rows = 0;  // query rows of this task
  const void* k_packed = nullptr;
  const void* v_packed = nullptr;
  void* out = nullptr;  // token 0 of the head
  int64_t ldo = 0;
  // Scratch of this thread, 64-byte aligned.
  void* q_block = nullptr;  // [block_rows, depth_padded] of the kernel's element
  float* scores =
      nullptr;  // [block_rows, block_keys]; the bf16 kernels overwrite it with bf16 weights
  float* sums = nullptr;  // [block_rows, cols_padded]
  float* row_state =
      nullptr;  // [3, block_rows]: largest logit, sum of weights, factor for what was summed before
};

struct AttentionKernel {
  int64_t block_rows = 0;
  int64_t block_keys = 0;
  int64_t key_multiple = 0;    // keys_padded
  int64_t depth_multiple = 0;  // depth_padded
  int64_t col_multiple = 0;    // cols_padded
  int64_t element_bytes = 0;   // of packed q, k and v: 4 or 2
  void (*pack_k)(const AttentionGeometry&, const AttentionPackArgs&) = nullptr;
  void (*pack_v)(const AttentionGeometry&, const AttentionPackArgs&) = nullptr;
  void (*block)(const AttentionGeometry&, const AttentionBlockArgs&) = nullptr;
};

void avx2_f32_attention_pack_k(const AttentionGeometry& geometry, const AttentionPackArgs& args);
void avx2_f32_attention_pack_v(const AttentionGeometry& geometry, const AttentionPackArgs& args);
void avx2_f32_attention_block(const AttentionGeometry& geometry, const AttentionBlockArgs& args);

void avx512_f32_attention_pack_k(const AttentionGeometry& geometry, const AttentionPackArgs& args);
void avx512_f32_attention_pack_v(const AttentionGeometry& geometry, const AttentionPackArgs& args);
void avx512_f32_attention_block(const AttentionGeometry& geometry, const AttentionBlockArgs& args);

// Shared by the two bf16 kernels; needs no bf16 instruction.
void avx512_bf16_attention_pack_k(const AttentionGeometry& geometry, const AttentionPackArgs& args);
void avx512_bf16_attention_pack_v(const AttentionGeometry& geometry, const AttentionPackArgs& args);
void avx512bf16_attention_block(const AttentionGeometry& geometry, const AttentionBlockArgs& args);
void amx_bf16_attention_block(const AttentionGeometry& geometry, const AttentionBlockArgs& args);

// 2^x for x <= 0, element by element: within 2 ulp where the result is normal, 0 where it would be
// denormal. For tests.
void avx2_attention_exp2(const float* x, float* out, int64_t count);
void avx512_attention_exp2(const float* x, float* out, int64_t count);

}  // namespace intaglio
