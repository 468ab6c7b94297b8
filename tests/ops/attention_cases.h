// Inputs and comparisons shared by the attention tests.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "core/dtype.h"
#include "ops/attention.h"
#include "support/operands.h"

namespace intaglio {

// q, k and v of one fused buffer [tokens, heads + 2 kv_heads, head_dim] + padding columns, in float
// and in the type of the case. Of more tokens than keys the last ones have a k and a v of NaN.
struct AttentionCase {
  AttentionDesc desc;
  int64_t ld = 0;
  int64_t out_gap = 0;  // elements between the heads of two tokens of the output
  std::vector<float> values;
  std::vector<std::byte> buffer;

  int64_t k_offset() const { return desc.heads * desc.head_dim; }
  int64_t v_offset() const { return (desc.heads + desc.kv_heads) * desc.head_dim; }
  float& q(int64_t t, int64_t h, int64_t j) {
    return values[static_cast<size_t>(t * ld + h * desc.head_dim + j)];
  }
  float& k(int64_t t, int64_t h, int64_t j) {
    return values[static_cast<size_t>(t * ld + k_offset() + h * desc.head_dim + j)];
  }
  float& v(int64_t t, int64_t h, int64_t j) {
    return values[static_cast<size_t>(t * ld + v_offset() + h * desc.head_dim + j)];
  }

  // Writes `values` to the buffer in desc.dtype; call after changing them.
  void store() {
    const size_t size = dtype_size(desc.dtype);
    buffer.resize(values.size() * size);
    for (size_t i = 0; i < values.size(); ++i) {
      if (desc.dtype == DType::kBF16) {
        const BFloat16 half(values[i]);
        std::memcpy(buffer.data() + i * size, &half, size);
      } else {
        std::memcpy(buffer.data() + i * size, &values[i], size);
      }
    }
  }

  AttentionArgs args(void* out) const { return args(buffer.data(), out); }
  // `fused`: the buffer, or where a device has it.
  AttentionArgs args(const std::byte* fused, void* out) const {
    const size_t size = dtype_size(desc.dtype);
    AttentionArgs a;
    a.q = fused;
    a.k = fused + static_cast<size_t>(k_offset()) * size;
    a.v = fused + static_cast<size_t>(v_offset()) * size;
    a.ldq = a.ldk = a.ldv = ld;
    a.out = out;
    if (out_gap != 0) a.ldo = out_stride();
    return a;
  }

  int64_t out_stride() const { return desc.heads * desc.head_dim + out_gap; }
  int64_t rows() const { return std::max(desc.tokens, desc.key_tokens()); }
  // The last token ends with its heads.
  int64_t out_count() const { return desc.tokens * out_stride() - out_gap; }
};

inline AttentionCase make_case(const AttentionDesc& desc, float q_scale = 1.0f, uint32_t seed = 1) {
  AttentionCase c;
  c.desc = desc;
  // The last token's row ends with v: a kernel that reads past a row reads past the buffer there,
  // which the address sanitizer sees.
  c.ld = (desc.heads + 2 * desc.kv_heads) * desc.head_dim;
  c.values.resize(static_cast<size_t>(c.rows() * c.ld));
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal;
  for (float& value : c.values) value = normal(generator);
  for (int64_t t = 0; t < desc.tokens; ++t) {
    for (int64_t j = 0; j < desc.heads * desc.head_dim; ++j) c.q(t, 0, j) *= q_scale;
  }
  for (int64_t t = desc.key_tokens(); t < desc.tokens; ++t) {
    for (int64_t j = c.k_offset(); j < c.ld; ++j)
      c.values[static_cast<size_t>(t * c.ld + j)] = std::numeric_limits<float>::quiet_NaN();
  }
  c.store();
  return c;
}

// Runs `run(context, args) -> Status` where the context is, with an arena of exactly `scratch`
// bytes; the result as floats, tokens side by side. Nothing may be written between them.
template <typename Run>
std::vector<float> run_case(const AttentionCase& c, Context context, size_t scratch, Run&& run) {
  const size_t size = dtype_size(c.desc.dtype);
  const auto count = static_cast<size_t>(c.out_count());
  std::vector<std::byte> out(count * size, std::byte{0x7f});
  auto memory = allocate(context, scratch);
  EXPECT_TRUE(memory);
  Arena arena(std::move(*memory));
  context.scratch = &arena;
  test::Operands on(context);
  const std::byte* const fused = on.in(const_cast<std::byte*>(c.buffer.data()), c.buffer.size());
  const Status status = run(context, c.args(fused, on.out(out.data(), out.size())));
  EXPECT_TRUE(status) << status.error().message;
  on.fetch();
  EXPECT_EQ(arena.used(), 0u);
  EXPECT_EQ(arena.peak(), scratch);
  std::vector<float> floats(count);
  convert_to_f32(out.data(), c.desc.dtype, floats.data(), count);
  const int64_t width = c.desc.heads * c.desc.head_dim;
  for (int64_t t = c.desc.tokens - 1; t > 0; --t) {
    const int64_t at = t * c.out_stride();
    for (int64_t i = (at - c.out_gap) * static_cast<int64_t>(size);
         i < at * static_cast<int64_t>(size); ++i)
      EXPECT_EQ(out[static_cast<size_t>(i)], std::byte{0x7f}) << "before token " << t;
  }
  for (int64_t t = 1; t < c.desc.tokens; ++t)
    std::copy_n(floats.begin() + t * c.out_stride(), width, floats.begin() + t * width);
  floats.resize(static_cast<size_t>(c.desc.tokens * width));
  return floats;
}

// The reference result, in float even when the case is bf16: only the inputs are rounded.
inline std::vector<float> reference_of(const AttentionCase& c) {
  AttentionCase wide = c;
  wide.desc.dtype = DType::kF32;
  std::vector<float> rounded(c.values.size());
  convert_to_f32(c.buffer.data(), c.desc.dtype, rounded.data(), rounded.size());
  wide.values = rounded;
  wide.store();
  const AttentionImplementation& ref = attention_implementations().back();
  Context context;
  context.threads = 2;
  return run_case(wide, context, ref.scratch_bytes(wide.desc, context.threads),
                  [&](const Context& with_scratch, const AttentionArgs& args) {
                    return ref.run(with_scratch, wide.desc, args);
                  });
}

// Largest ||a - b|| / ||b|| over the rows of heads. A row much smaller than the others (values that
// happen to cancel) is measured by the root mean square of all rows: its errors are those of the
// values that went in.
inline double worst_row_error(const AttentionDesc& desc, const std::vector<float>& found,
                              const std::vector<float>& expected) {
  const auto d = static_cast<size_t>(desc.head_dim);
  double all = 0.0;
  for (const float e : expected) all += static_cast<double>(e) * static_cast<double>(e);
  const double typical = all * static_cast<double>(d) / static_cast<double>(expected.size());
  double worst = 0.0;
  for (size_t row = 0; row + d <= expected.size(); row += d) {
    double difference = 0.0;
    double norm = 0.0;
    for (size_t j = row; j < row + d; ++j) {
      const double e = static_cast<double>(expected[j]);
      const double delta = static_cast<double>(found[j]) - e;
      difference += delta * delta;
      norm += e * e;
    }
    const double error = std::sqrt(difference / std::max(norm, typical));
    if (!(error <= worst)) worst = error;
    if (std::isnan(worst)) return std::numeric_limits<double>::infinity();
  }
  return worst;
}

inline std::string to_text(const AttentionDesc& d) {
  return fmt::format("{} tokens, {} keys, {}/{} heads x {}, {}{}", d.tokens, d.key_tokens(),
                     d.heads, d.kv_heads, d.head_dim, dtype_name(d.dtype),
                     d.causal ? ", causal" : "");
}

// Token counts around the block sizes (48, 32 rows; 128, 256 keys; panels of 16 and 64), with head
// sizes that are and are not multiples of the vector widths.
inline std::vector<AttentionDesc> attention_shapes(DType dtype) {
  std::vector<AttentionDesc> shapes;
  for (const bool causal : {false, true}) {
    for (const int64_t tokens : {1, 2, 16, 17, 48, 65, 129, 300}) {
      shapes.push_back({tokens, 3, 3, 64, causal, dtype});
      shapes.push_back({tokens, 4, 2, 40, causal, dtype});
    }
    for (const int64_t head_dim : {1, 2, 7, 16, 17, 31, 32, 48, 80, 96, 100, 128, 256, 288, 512}) {
      shapes.push_back({67, 2, 1, head_dim, causal, dtype});
      shapes.push_back({261, 1, 1, head_dim, causal, dtype});
    }
  }
  for (const int64_t tokens : {1, 49, 129}) {
    for (const int64_t keys : {1, 16, 31, 48, 130, 300}) {
      shapes.push_back({tokens, 4, 2, 64, false, dtype});
      shapes.back().keys = keys;
    }
  }
  return shapes;
}

}  // namespace intaglio
