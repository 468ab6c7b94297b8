// Blocks of two streams against plain loops in float64: gated and without bias, as FLUX.2 has them,
// and with GELU and biases, as Qwen-Image; modulations of the block's own.
#include "models/parts/double_block.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <random>
#include <string>

#include "core/cpu_features.h"
#include "core/memory.h"
#include "core/relative_error.h"
#include "models/parts/weights.h"

namespace intaglio {
namespace {

using Row = std::vector<double>;
using Rows = std::vector<Row>;

constexpr int64_t kText = 5, kImage = 12, kAll = kText + kImage;

DoubleBlockSizes sizes_of(bool gated) {
  using Names = std::vector<const char*>;
  return {.heads = 3,
          .head_dim = 16,
          .intermediate = gated ? 72 : 80,
          .norm_eps = 1e-6f,
          .qk_norm_eps = 1e-5f,
          .bias = !gated,
          .text = {gated ? Names{"txt.gate", "txt.up"} : Names{"txt.in"}, "txt.out"},
          .image = {gated ? Names{"img.gate", "img.up"} : Names{"img.in"}, "img.out"}};
}

// Two blocks, what they read, and their formulas.
class Blocks {
 public:
  explicit Blocks(bool gated) : sizes_(sizes_of(gated)), blocks_(2) {
    DeclareModules declare;
    walk(declare);
    EXPECT_TRUE(source_.check(declare.shapes()));
    for (const auto& [name, shape] : declare.shapes()) {
      const Tensor tensor = source_.tensor(name, shape).value();
      std::vector<float> values(static_cast<size_t>(shape.count()));
      convert_to_f32(tensor.view.data, tensor.view.dtype, values.data(), values.size());
      weights_[name] = Row(values.begin(), values.end());
    }
    std::mt19937 random(4);
    std::normal_distribution<float> normal;
    const auto fill = [&](std::vector<float>& values, int64_t count, float size) {
      for (int64_t i = 0; i < count; ++i) values.push_back(size * normal(random));
    };
    fill(h_, kAll * width(), 2.0f);
    fill(modulation_, 4 * 6 * width(), 0.5f);
    for (int64_t i = 0; i < kAll * sizes_.head_dim / 2; ++i) {
      const double angle = 0.37 * static_cast<double>(i % 29);
      cos_.push_back(static_cast<float>(std::cos(angle)));
      sin_.push_back(static_cast<float>(std::sin(angle)));
    }
  }

  // h behind both blocks by the engine.
  std::vector<float> run(Precision precision) {
    Context context{.threads = 2, .cpu = host_cpu_features()};
    const LayerSelection selection{.precision = precision};
    PrepareModules prepare(context, source_, selection);
    walk(prepare);
    const DType dtype = selection.activation_dtype();
    const AttentionDesc desc{.tokens = kAll,
                             .heads = sizes_.heads,
                             .kv_heads = sizes_.heads,
                             .head_dim = sizes_.head_dim,
                             .dtype = dtype};
    const BlockSizes buffers = double_block_buffers(sizes_, dtype, kAll);
    size_t scratch = 0;
    for (const DoubleBlock& block : blocks_)
      scratch =
          std::max(scratch, double_block_scratch(context, block, desc, kText, desc.tokens - kText));
    Arena arena(allocate(context, block_buffer_bytes(buffers) + scratch).value());
    context.scratch = &arena;
    DoubleBuffers b{
        .all = take_block_buffers(arena, buffers).value(), .sizes = buffers, .text_rows = kText};
    std::copy(h_.begin(), h_.end(), b.all.h);
    EXPECT_TRUE(begin_double_blocks(context, sizes_, blocks_[0], modulation(0), b, nullptr));
    for (int i = 0; i < 2; ++i) {
      const Status status =
          run_double_block(context, sizes_, blocks_[static_cast<size_t>(i)],
                           {.attention = {.desc = desc},
                            .rope = {cos_.data(), sin_.data()},
                            .modulation = modulation(i),
                            .next = i == 0 ? &blocks_[1] : nullptr,
                            .next_modulation = i == 0 ? modulation(1) : DoubleModulation{}},
                           b, nullptr);
      EXPECT_TRUE(status) << status.error().message;
    }
    return {b.all.h, b.all.h + h_.size()};
  }

  std::vector<float> expected() const {
    Rows h;
    for (auto i = h_.begin(); i != h_.end(); i += width()) h.emplace_back(i, i + width());
    for (int i = 0; i < 2; ++i) block(i, h);
    std::vector<float> flat;
    for (const Row& row : h) flat.insert(flat.end(), row.begin(), row.end());
    return flat;
  }

 private:
  int64_t width() const { return sizes_.width(); }
  void walk(ModuleVisitor& v) {
    for (int i = 0; i < 2; ++i) {
      v.begin_layer(i, "blocks." + std::to_string(i) + ".");
      EXPECT_TRUE(walk_double_block(v, sizes_, blocks_[static_cast<size_t>(i)]));
    }
  }
  const float* table(int block, bool image) const {
    return modulation_.data() + (2 * block + (image ? 1 : 0)) * 6 * width();
  }
  DoubleModulation modulation(int block) const {
    return {.text = table(block, false), .image = table(block, true)};
  }

  Row linear(const std::string& name, const Row& x) const {
    const Row& w = weights_.at(name + ".weight");
    const auto bias = weights_.find(name + ".bias");
    Row y(w.size() / x.size());
    for (size_t n = 0; n < y.size(); ++n) {
      y[n] = bias == weights_.end() ? 0.0 : bias->second[n];
      for (size_t k = 0; k < x.size(); ++k) y[n] += w[n * x.size() + k] * x[k];
    }
    return y;
  }

  // layernorm(x) (1 + scale) + shift, the `index`-th of the table.
  Row modulated(Row x, const float* m, size_t index) const {
    const size_t d = x.size();
    double mean = 0.0, squares = 0.0;
    for (const double v : x) mean += v / static_cast<double>(d);
    for (const double v : x) squares += (v - mean) * (v - mean) / static_cast<double>(d);
    for (size_t i = 0; i < d; ++i) {
      const double shift = m[3 * index * d + i], scale = m[(3 * index + 1) * d + i];
      x[i] = (x[i] - mean) / std::sqrt(squares + 1e-6) * (1.0 + scale) + shift;
    }
    return x;
  }

  void add_gated(const Row& y, const float* m, size_t index, Row& h) const {
    for (size_t i = 0; i < h.size(); ++i) h[i] += m[(3 * index + 2) * h.size() + i] * y[i];
  }

  // Each head normed, then turned in pairs of neighbours.
  void norm_and_turn(const std::string& norm, int64_t token, Row& row) const {
    const Row& weight = weights_.at(norm + ".weight");
    const auto dim = weight.size();
    for (size_t head = 0; head < row.size(); head += dim) {
      double squares = 0.0;
      for (size_t j = 0; j < dim; ++j) squares += row[head + j] * row[head + j];
      const double scale = 1.0 / std::sqrt(squares / static_cast<double>(dim) + 1e-5);
      for (size_t j = 0; j < dim; ++j) row[head + j] *= scale * weight[j];
      for (size_t j = 0; j < dim / 2; ++j) {
        const auto at = static_cast<size_t>(token) * dim / 2 + j;
        double &a = row[head + 2 * j], &b = row[head + 2 * j + 1];
        const double turned = a * cos_[at] - b * sin_[at];
        b = b * cos_[at] + a * sin_[at];
        a = turned;
      }
    }
  }

  Row feed_forward(const std::string& prefix, const Row& u) const {
    if (!sizes_.gated()) {
      Row hidden = linear(prefix + "in", u);
      for (double& z : hidden) {
        const double inner = std::sqrt(2.0 / 3.14159265358979324) * (z + 0.044715 * z * z * z);
        z = z / 2.0 * (1.0 + std::tanh(inner));
      }
      return linear(prefix + "out", hidden);
    }
    Row hidden = linear(prefix + "gate", u);
    const Row up = linear(prefix + "up", u);
    for (size_t i = 0; i < hidden.size(); ++i)
      hidden[i] = hidden[i] / (1.0 + std::exp(-hidden[i])) * up[i];
    return linear(prefix + "out", hidden);
  }

  void block(int index, Rows& h) const {
    const std::string prefix = "blocks." + std::to_string(index) + ".";
    Rows q, k, v;
    for (int64_t t = 0; t < kAll; ++t) {
      const bool image = t >= kText;
      const Row u = modulated(h[static_cast<size_t>(t)], table(index, image), 0);
      const std::string attn = prefix + "attn.";
      q.push_back(linear(attn + (image ? "to_q" : "add_q_proj"), u));
      k.push_back(linear(attn + (image ? "to_k" : "add_k_proj"), u));
      v.push_back(linear(attn + (image ? "to_v" : "add_v_proj"), u));
      norm_and_turn(attn + (image ? "norm_q" : "norm_added_q"), t, q.back());
      norm_and_turn(attn + (image ? "norm_k" : "norm_added_k"), t, k.back());
    }
    const auto dim = static_cast<size_t>(sizes_.head_dim);
    for (int64_t t = 0; t < kAll; ++t) {
      const bool image = t >= kText;
      const auto at = static_cast<size_t>(t);
      Row attended(static_cast<size_t>(width()));
      for (size_t head = 0; head < attended.size(); head += dim) {
        double sum = 0.0;
        for (size_t s = 0; s < k.size(); ++s) {
          double score = 0.0;
          for (size_t i = head; i < head + dim; ++i) score += q[at][i] * k[s][i];
          const double weight = std::exp(score / std::sqrt(static_cast<double>(dim)));
          sum += weight;
          for (size_t i = head; i < head + dim; ++i) attended[i] += weight * v[s][i];
        }
        for (size_t i = head; i < head + dim; ++i) attended[i] /= sum;
      }
      const float* const m = table(index, image);
      add_gated(linear(prefix + (image ? "attn.to_out.0" : "attn.to_add_out"), attended), m, 0,
                h[at]);
      add_gated(feed_forward(prefix + (image ? "img." : "txt."), modulated(h[at], m, 1)), m, 1,
                h[at]);
    }
  }

  DoubleBlockSizes sizes_;
  std::vector<DoubleBlock> blocks_;
  SyntheticSource source_{7};
  std::map<std::string, Row> weights_;
  std::vector<float> h_, modulation_, cos_, sin_;
};

// Float32 sums of up to 80 terms, through two blocks; bf16 rounds each row by 2^-9, int8 by 1/254
// of its largest value.
TEST(DoubleBlock, MatchesPlainLoops) {
  for (const bool gated : {true, false}) {
    SCOPED_TRACE(gated ? "gated" : "GELU");
    Blocks blocks(gated);
    const std::vector<float> expected = blocks.expected();
    EXPECT_LE(relative_error(blocks.run(Precision::kFp32), expected), 2e-6);
    EXPECT_LE(relative_error(blocks.run(Precision::kBf16), expected), 1e-2);
    EXPECT_LE(relative_error(blocks.run(Precision::kInt8), expected), 2e-2);
    EXPECT_LE(relative_error(blocks.run(Precision::kInt8Dequant), expected), 2e-2);
  }
}

}  // namespace
}  // namespace intaglio
