// What towers compute with: matrices of floats and the engine's float32 ops on the CPU.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/arena.h"
#include "core/context.h"
#include "core/status.h"
#include "eval/towers/tower_weights.h"

namespace intaglio::towers {

// Row-major [rows, cols].
struct Matrix {
  int64_t rows = 0, cols = 0;
  std::vector<float> values;

  static Matrix zeros(int64_t rows, int64_t cols) {
    return {rows, cols, std::vector<float>(static_cast<size_t>(rows * cols))};
  }
  float* row(int64_t r) { return values.data() + r * cols; }
  const float* row(int64_t r) const { return values.data() + r * cols; }
};

// y = x W^T + b. Several that read the same input lie below one another.
struct DenseWeights {
  int64_t outputs = 0, inputs = 0;
  std::vector<float> weight;  // [outputs, inputs]
  std::vector<float> bias;    // [outputs], or empty
};

struct NormWeights {
  std::vector<float> weight, bias;  // [cols]
  float eps = 0.0f;
};

enum class Curve {
  kGelu,       // x Phi(x), by erf
  kQuickGelu,  // x / (1 + e^(-1.702 x))
  kRelu,
};
// "gelu", "quick_gelu", "relu" as configs have them; kUnsupported names `where`.
Expected<Curve> curve_from_name(const std::string& name, const std::string& where);

// Reads "<prefix>.weight" [outputs, inputs] and "<prefix>.bias" of each prefix.
enum class Bias { kYes, kNo };
Expected<DenseWeights> read_dense(const TowerWeights& source, std::span<const std::string> prefixes,
                                  int64_t outputs, int64_t inputs, Bias bias = Bias::kYes);
Expected<NormWeights> read_norm(const TowerWeights& source, const std::string& prefix, int64_t cols,
                                double eps);

// Queries [tokens, width] against keys and values [other tokens, width], all in heads.
struct CrossAttention {
  const Matrix& q;
  const Matrix& k;
  const Matrix& v;
  int64_t heads = 1;
};

// Not for several threads at once: its scratch is one block, which grows.
class TowerMath {
 public:
  // `host`: a context of the CPU, its scratch ignored.
  explicit TowerMath(const Context& host) : context_(host) {}

  const Context& context() const { return context_; }
  // kCancelled once the caller has asked to stop.
  Status check() const { return check_cancelled(context_); }

  Expected<Matrix> dense(const DenseWeights& weights, const Matrix& x);
  // The same into rows that are there: `y` is [rows, outputs] dense.
  Status dense_into(const DenseWeights& weights, const float* x, int64_t rows, float* y);
  Expected<Matrix> layer_norm(const NormWeights& weights, const Matrix& x);
  void apply(Curve curve, Matrix& x) const;
  // h += y.
  static void add(const Matrix& y, Matrix& h);
  // qkv: [tokens, 3 * width], the three side by side -> [tokens, width].
  Expected<Matrix> self_attention(const Matrix& qkv, int64_t heads, bool causal);
  Expected<Matrix> cross_attention(const CrossAttention& what) const;

 private:
  // The context with room for `bytes` of scratch.
  Expected<Context> with_scratch(size_t bytes);

  Context context_;
  std::optional<Arena> scratch_;
};

// x / ||x||, summed in float64.
std::vector<float> unit(std::span<const float> x);
double dot(std::span<const float> a, std::span<const float> b);

}  // namespace intaglio::towers
