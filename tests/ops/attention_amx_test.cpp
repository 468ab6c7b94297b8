// The blocking of amx_bf16_attention on tiles of plain loops, so that it is checked where there is
// no AMX. With AMX, attention_test.cpp runs the instructions as well.
#include "ops/attention_cases.h"
#include "ops/cpu/amx/amx_attention_block.h"
#include "ops/cpu/attention_driver.h"

namespace intaglio {
namespace {

float widen(uint16_t bits) {
  BFloat16 half;
  half.bits = bits;
  return static_cast<float>(half);
}

struct Softened {
  float factor;
  float total;
};

// Eight tiles of 16 rows x 64 bytes, and the row operations, as tdpbf16ps and the AVX-512 softmax
// define them.
struct EmulatedTiles {
  static inline thread_local unsigned char tile[8][16][64];
  static inline thread_local bool configured = false;

  static void begin() { configured = true; }
  static void end() { configured = false; }

  template <int kTile>
  static void zero() {
    EXPECT_TRUE(configured);
    std::memset(tile[kTile], 0, sizeof(tile[kTile]));
  }
  template <int kTile>
  static void load(const void* base, int64_t stride) {
    for (int64_t r = 0; r < 16; ++r)
      std::memcpy(tile[kTile][r], static_cast<const char*>(base) + r * stride, 64);
  }
  template <int kTile>
  static void store(void* base, int64_t stride) {
    for (int64_t r = 0; r < 16; ++r)
      std::memcpy(static_cast<char*>(base) + r * stride, tile[kTile][r], 64);
  }
  template <int kC, int kA, int kB>
  static void multiply() {
    for (int m = 0; m < 16; ++m) {
      float c[16];
      uint16_t a[32];
      std::memcpy(c, tile[kC][m], 64);
      std::memcpy(a, tile[kA][m], 64);
      for (int k = 0; k < 16; ++k) {
        uint16_t b[32];
        std::memcpy(b, tile[kB][k], 64);
        for (int n = 0; n < 16; ++n) {
          c[n] += widen(a[2 * k]) * widen(b[2 * n]);
          c[n] += widen(a[2 * k + 1]) * widen(b[2 * n + 1]);
        }
      }
      std::memcpy(tile[kC][m], c, 64);
    }
  }

  static void load_queries(const AttentionGeometry& g, const AttentionBlockArgs& args,
                           int64_t rows) {
    uint16_t* block = static_cast<uint16_t*>(args.q_block);
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t token = args.row + std::min(r, args.rows - 1);
      for (int64_t p = 0; p < g.depth_padded; ++p) {
        block[r * g.depth_padded + p] =
            p < g.head_dim ? static_cast<const uint16_t*>(args.q)[token * args.ldq + p]
                           : uint16_t{0};
      }
    }
  }
  static void hide_keys(float* scores, int64_t valid, int64_t count) {
    for (int64_t s = std::max<int64_t>(valid, 0); s < count; ++s)
      scores[s] = -std::numeric_limits<float>::infinity();
  }
  static Softened soften_row(float* scores, int64_t count, float scale_log2, float* largest) {
    const float before = *largest;
    for (int64_t s = 0; s < count; ++s) *largest = std::max(*largest, scores[s]);
    Softened result{std::exp2((before - *largest) * scale_log2), 0.0f};
    for (int64_t s = 0; s < count; ++s) {
      const BFloat16 weight(std::exp2((scores[s] - *largest) * scale_log2));
      result.total += static_cast<float>(weight);
      std::memcpy(reinterpret_cast<char*>(scores) + s * 2, &weight,
                  2);  // never ahead of the score being read
    }
    return result;
  }
  static void scale_row(float* row, int64_t count, float factor) {
    for (int64_t c = 0; c < count; ++c) row[c] *= factor;
  }
  static void write_rows(const AttentionGeometry& g, const AttentionBlockArgs& args,
                         const float* totals) {
    for (int64_t r = 0; r < args.rows; ++r) {
      for (int64_t c = 0; c < g.head_dim; ++c) {
        static_cast<BFloat16*>(args.out)[(args.row + r) * args.ldo + c] =
            BFloat16(args.sums[r * g.cols_padded + c] / totals[r]);
      }
    }
  }
};

// The layouts of attention_kernels.h, element by element.
void pack(const AttentionGeometry& g, const AttentionPackArgs& args, bool is_v) {
  const int64_t end = args.end == g.keys ? g.keys_padded : args.end;
  const int64_t width_of_row = is_v ? g.cols_padded : g.depth_padded;
  for (int64_t key = args.begin; key < end; ++key) {
    for (int64_t j = 0; j < width_of_row; ++j) {
      const int64_t wide = is_v ? j : key;  // along the panel
      const int64_t deep = is_v ? key : j;  // in pairs
      const int64_t wide_end = is_v ? g.cols_padded : g.keys_padded;
      const int64_t deep_end = is_v ? g.keys_padded : g.depth_padded;
      const int64_t panel = wide / 64 * 64;
      const int64_t width = std::min<int64_t>(64, wide_end - panel);
      const bool inside = key < g.keys && j < g.head_dim;
      static_cast<uint16_t*>(
          args.packed)[panel * deep_end + deep / 2 * width * 2 + (wide - panel) * 2 + deep % 2] =
          inside ? static_cast<const uint16_t*>(args.source)[key * args.ld + j] : uint16_t{0};
    }
  }
}

constexpr AttentionKernel kEmulatedKernel{
    .block_rows = kAmxBlockRows,
    .block_keys = kAmxBlockKeys,
    .key_multiple = 32,
    .depth_multiple = 32,
    .col_multiple = 32,
    .element_bytes = 2,
    .pack_k = [](const AttentionGeometry& g,
                 const AttentionPackArgs& args) { pack(g, args, false); },
    .pack_v = [](const AttentionGeometry& g,
                 const AttentionPackArgs& args) { pack(g, args, true); },
    .block = amx_attention_block<EmulatedTiles>,
};

std::vector<float> run(const AttentionCase& c, const AttentionKernel& kernel) {
  Context context;
  context.threads = 2;
  return run_case(c, context, attention_kernel_scratch_bytes(kernel, c.desc, context.threads),
                  [&](const Context& with_scratch, const AttentionArgs& args) {
                    return run_attention_kernel(kernel, with_scratch, c.desc, args);
                  });
}

// Tolerance: weights and output are each rounded to bf16, 2^-8 at most.
TEST(AmxAttentionBlock, MatchesReferenceOnEmulatedTiles) {
  for (const AttentionDesc& desc : attention_shapes(DType::kBF16)) {
    SCOPED_TRACE(to_text(desc));
    const AttentionCase c = make_case(desc);
    EXPECT_LE(worst_row_error(desc, run(c, kEmulatedKernel), reference_of(c)), 1e-2);
  }
}

TEST(AmxAttentionBlock, OutputTokensMayLieApart) {
  const AttentionCase dense =
      make_case({.tokens = 67, .heads = 2, .kv_heads = 1, .head_dim = 80, .dtype = DType::kBF16});
  AttentionCase apart = dense;
  apart.out_gap = 3;
  EXPECT_EQ(run(apart, kEmulatedKernel), run(dense, kEmulatedKernel));
}

// Sums are scaled when a later block of keys holds the largest logit: keys grow with their index
// here, so every block does.
TEST(AmxAttentionBlock, LaterBlocksHoldTheLargest) {
  AttentionCase c =
      make_case({.tokens = 800, .heads = 1, .kv_heads = 1, .head_dim = 32, .dtype = DType::kBF16});
  for (int64_t t = 0; t < 800; ++t) {
    c.q(t, 0, 0) = 2.0f;
    c.k(t, 0, 0) = static_cast<float>(t) / 64.0f;
  }
  c.store();
  EXPECT_LE(worst_row_error(c.desc, run(c, kEmulatedKernel), reference_of(c)), 1e-2);
}

#if defined(__x86_64__)

// The packing of the AVX-512 and AMX kernels gives the documented layout, bit for bit.
TEST(AmxAttentionBlock, PackedLayout) {
  if (host_cpu_features().isa < CpuIsa::kAvx512Vnni) GTEST_SKIP();
  for (const int64_t tokens : {1, 31, 64, 100}) {
    for (const int64_t head_dim : {1, 31, 32, 64, 100}) {
      const AttentionCase c = make_case({.tokens = tokens,
                                         .heads = 1,
                                         .kv_heads = 1,
                                         .head_dim = head_dim,
                                         .dtype = DType::kBF16});
      AttentionGeometry g;
      g.keys = tokens;
      g.head_dim = head_dim;
      g.keys_padded = (tokens + 31) / 32 * 32;
      g.depth_padded = g.cols_padded = (head_dim + 31) / 32 * 32;
      g.bf16 = true;
      const AttentionArgs args = c.args(nullptr);
      const auto count = static_cast<size_t>(g.keys_padded * g.depth_padded);
      for (const bool is_v : {false, true}) {
        std::vector<uint16_t> found(count, 0xffff);
        std::vector<uint16_t> expected(count, 0xfffe);
        AttentionPackArgs p{.source = is_v ? args.v : args.k,
                            .ld = c.ld,
                            .begin = 0,
                            .end = tokens,
                            .packed = found.data()};
        (is_v ? avx512_bf16_attention_pack_v : avx512_bf16_attention_pack_k)(g, p);
        p.packed = expected.data();
        pack(g, p, is_v);
        EXPECT_EQ(found, expected) << tokens << " x " << head_dim;
      }
    }
  }
}

#endif

}  // namespace
}  // namespace intaglio
