#include "eval/towers/tower_math.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/parallel.h"
#include "io/printable.h"
#include "ops/attention.h"
#include "ops/float_gemm.h"
#include "ops/norm.h"

namespace intaglio::towers {
namespace {

constexpr int64_t kGrain = 16384;  // elements of a piece

float gelu(float x) { return 0.5f * x * (1.0f + std::erf(x * (std::numbers::sqrt2_v<float> / 2))); }
float quick_gelu(float x) { return x / (1.0f + std::exp(-1.702f * x)); }

template <typename Function>
void apply_each(int threads, std::vector<float>& values, Function function) {
  parallel_for(threads, static_cast<int64_t>(values.size()), kGrain,
               [&](int64_t begin, int64_t end, int) {
                 for (int64_t i = begin; i < end; ++i)
                   values[static_cast<size_t>(i)] = function(values[static_cast<size_t>(i)]);
               });
}

// softmax of `scores` in place.
void softmax(std::span<float> scores) {
  const float most = *std::max_element(scores.begin(), scores.end());
  float sum = 0.0f;
  for (float& score : scores) sum += score = std::exp(score - most);
  for (float& score : scores) score /= sum;
}

// One query of one head.
void attend(const CrossAttention& what, int64_t row, int64_t head, std::span<float> scores,
            float* out) {
  const int64_t depth = what.q.cols / what.heads, first = head * depth;
  const float scale = 1.0f / std::sqrt(static_cast<float>(depth));
  const float* const q = what.q.row(row) + first;
  for (int64_t t = 0; t < what.k.rows; ++t) {
    const float* const k = what.k.row(t) + first;
    float sum = 0.0f;
    for (int64_t c = 0; c < depth; ++c) sum += q[c] * k[c];
    scores[static_cast<size_t>(t)] = sum * scale;
  }
  softmax(scores);
  std::fill_n(out, depth, 0.0f);
  for (int64_t t = 0; t < what.v.rows; ++t) {
    const float* const v = what.v.row(t) + first;
    for (int64_t c = 0; c < depth; ++c) out[c] += scores[static_cast<size_t>(t)] * v[c];
  }
}

}  // namespace

Expected<Curve> curve_from_name(const std::string& name, const std::string& where) {
  if (name == "gelu") return Curve::kGelu;
  if (name == "quick_gelu") return Curve::kQuickGelu;
  if (name == "relu") return Curve::kRelu;
  return make_error(ErrorCode::kUnsupported,
                    "{}: hidden_act \"{}\", expected gelu, quick_gelu or relu", where,
                    printable(name, 60));
}

Expected<DenseWeights> read_dense(const TowerWeights& source, std::span<const std::string> prefixes,
                                  int64_t outputs, int64_t inputs, Bias bias) {
  DenseWeights all{.outputs = 0, .inputs = inputs, .weight = {}, .bias = {}};
  for (const std::string& prefix : prefixes) {
    INTAGLIO_ASSIGN(std::vector<float> weight, source.read(prefix + ".weight", {outputs, inputs}));
    if (all.weight.empty()) {
      all.weight = std::move(weight);
    } else {
      all.weight.insert(all.weight.end(), weight.begin(), weight.end());
    }
    all.outputs += outputs;
    if (bias == Bias::kNo) continue;
    INTAGLIO_ASSIGN(const std::vector<float> values, source.read(prefix + ".bias", {outputs}));
    all.bias.insert(all.bias.end(), values.begin(), values.end());
  }
  return all;
}

Expected<NormWeights> read_norm(const TowerWeights& source, const std::string& prefix, int64_t cols,
                                double eps) {
  NormWeights norm{.weight = {}, .bias = {}, .eps = static_cast<float>(eps)};
  INTAGLIO_ASSIGN(norm.weight, source.read(prefix + ".weight", {cols}));
  INTAGLIO_ASSIGN(norm.bias, source.read(prefix + ".bias", {cols}));
  return norm;
}

Expected<Context> TowerMath::with_scratch(size_t bytes) {
  if (!scratch_ || scratch_->capacity() < bytes + kCacheLine) {
    scratch_.reset();
    INTAGLIO_ASSIGN(scratch_, Arena::with_capacity(bytes + kCacheLine));
  }
  Context context = context_;
  context.scratch = &*scratch_;
  return context;
}

Status TowerMath::dense_into(const DenseWeights& weights, const float* x, int64_t rows, float* y) {
  const FloatGemmDesc desc{.m = rows,
                           .n = weights.outputs,
                           .k = weights.inputs,
                           .in_dtype = DType::kF32,
                           .out_dtype = DType::kF32,
                           .has_bias = !weights.bias.empty()};
  INTAGLIO_ASSIGN(const FloatGemmImplementation* const chosen, choose_float_gemm(desc, context_));
  INTAGLIO_ASSIGN(const Context context,
                  with_scratch(chosen->scratch_bytes(desc, context_.threads)));
  return chosen->run(context, desc,
                     {.a = x,
                      .lda = weights.inputs,
                      .w = weights.weight.data(),
                      .bias = weights.bias.empty() ? nullptr : weights.bias.data(),
                      .out = y,
                      .ldo = weights.outputs});
}

Expected<Matrix> TowerMath::dense(const DenseWeights& weights, const Matrix& x) {
  if (x.cols != weights.inputs)
    return make_error(ErrorCode::kInternal, "a product of {} columns, expected {}", x.cols,
                      weights.inputs);
  Matrix y = Matrix::zeros(x.rows, weights.outputs);
  INTAGLIO_TRY(dense_into(weights, x.values.data(), x.rows, y.values.data()));
  return y;
}

Expected<Matrix> TowerMath::layer_norm(const NormWeights& weights, const Matrix& x) {
  Matrix y = Matrix::zeros(x.rows, x.cols);
  Activation out;
  out.data = y.values.data();
  out.rows = y.rows;
  out.cols = y.cols;
  INTAGLIO_TRY(norm(context_, norm_into(NormKind::kLayer, weights.eps, out),
                    {.x = x.values.data(),
                     .weight = weights.weight.data(),
                     .modulation = nullptr,
                     .shift = weights.bias.data(),
                     .out = out}));
  return y;
}

void TowerMath::apply(Curve curve, Matrix& x) const {
  switch (curve) {
    case Curve::kGelu:
      return apply_each(context_.threads, x.values, gelu);
    case Curve::kQuickGelu:
      return apply_each(context_.threads, x.values, quick_gelu);
    case Curve::kRelu:
      return apply_each(context_.threads, x.values, [](float v) { return v > 0.0f ? v : 0.0f; });
  }
}

void TowerMath::add(const Matrix& y, Matrix& h) {
  for (size_t i = 0; i < h.values.size(); ++i) h.values[i] += y.values[i];
}

Expected<Matrix> TowerMath::self_attention(const Matrix& qkv, int64_t heads, bool causal) {
  const int64_t width = qkv.cols / 3;
  const AttentionDesc desc{.tokens = qkv.rows,
                           .heads = heads,
                           .kv_heads = heads,
                           .head_dim = width / heads,
                           .causal = causal};
  Matrix out = Matrix::zeros(qkv.rows, width);
  INTAGLIO_ASSIGN(const Context context, with_scratch(attention_scratch_bytes(context_, desc)));
  INTAGLIO_TRY(attention(context, desc,
                         {.q = qkv.values.data(),
                          .k = qkv.values.data() + width,
                          .v = qkv.values.data() + 2 * width,
                          .ldq = qkv.cols,
                          .ldk = qkv.cols,
                          .ldv = qkv.cols,
                          .out = out.values.data()}));
  return out;
}

Expected<Matrix> TowerMath::cross_attention(const CrossAttention& what) const {
  Matrix out = Matrix::zeros(what.q.rows, what.q.cols);
  const int64_t depth = what.q.cols / what.heads;
  parallel_for(context_.threads, what.q.rows * what.heads, 1, [&](int64_t begin, int64_t end, int) {
    std::vector<float> scores(static_cast<size_t>(what.k.rows));
    for (int64_t i = begin; i < end; ++i) {
      const int64_t row = i / what.heads, head = i % what.heads;
      attend(what, row, head, scores, out.row(row) + head * depth);
    }
  });
  return out;
}

double dot(std::span<const float> a, std::span<const float> b) {
  double sum = 0.0;
  for (size_t i = 0; i < a.size(); ++i) sum += double{a[i]} * double{b[i]};
  return sum;
}

std::vector<float> unit(std::span<const float> x) {
  const double length = std::sqrt(dot(x, x));
  std::vector<float> y(x.begin(), x.end());
  for (float& value : y) value = static_cast<float>(value / length);
  return y;
}

}  // namespace intaglio::towers
