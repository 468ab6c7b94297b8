// Launches of products, convolutions and attention on the device double: the formulas as the
// launchers' headers say them, in plain loops.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "device/double/device_double.h"
#include "device/double/elements.h"
#include "ops/cuda/launch/conv2d.h"
#include "ops/cuda/launch/dequantize_weights.h"
#include "ops/cuda/launch/e4m3_rows.h"
#include "ops/cuda/launch/int8_linear.h"
#include "ops/cuda/launch/narrow_gemm.h"
#include "ops/cuda/launch/plain_attention.h"
#include "ops/cuda/launch/plain_gemm.h"
#include "ops/cuda/launch/qk_norm_rope.h"
#include "ops/cuda/launch/quantize_nf4.h"
#include "ops/cuda/launch/s8_values.h"
#include "ops/cuda/launch/sm80_attention.h"
#include "ops/cuda/launch/sm90a_attention.h"
#include "ops/cuda/library/cublaslt.h"
#include "ops/quantize.h"
#include "ops/s8_values_implementations.h"
#include "support/int8_reference.h"

namespace intaglio::cuda {
namespace {

constexpr const char* kMissing = "the double has no such kernel";

cudaError_t launch(cudaStream_t stream, const char* name, std::function<void()> work) {
  return test::DeviceDouble::instance().launch(stream, name, std::move(work));
}

// A workspace is written from end to end: one that lies over something else shows.
void use(void* workspace, size_t bytes) {
  if (bytes > 0) std::memset(workspace, 0xFF, bytes);
}

int64_t keys_of(const AttentionParams& p) { return p.keys == 0 ? p.tokens : p.keys; }

// Rows of one head, of `ld` elements each: [rows, head_dim].
std::vector<float> head_rows(const void* from, DType type, int64_t rows, int64_t ld, int64_t head,
                             int64_t head_dim) {
  std::vector<float> values;
  values.reserve(static_cast<size_t>(rows * head_dim));
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t d = 0; d < head_dim; ++d)
      values.push_back(load(from, type, r * ld + head * head_dim + d));
  return values;
}

// softmax(q k^T / sqrt(head_dim)) v for every head; `scores` gives, for a head, what gives q . k of
// its tokens t and s.
template <class Scores>
void attend(const AttentionParams& p, DType type, Scores&& scores) {
  const int64_t all_keys = keys_of(p);
  std::vector<double> e(static_cast<size_t>(all_keys)), y(static_cast<size_t>(p.head_dim));
  const double scale = 1.0 / std::sqrt(static_cast<double>(p.head_dim));
  for (int64_t h = 0; h < p.heads; ++h) {
    const int64_t kv = h / (p.heads / p.kv_heads);
    const std::vector<float> v = head_rows(p.v, type, all_keys, p.ldv, kv, p.head_dim);
    const auto score = scores(h, kv);
    for (int64_t t = 0; t < p.tokens; ++t) {
      const int64_t keys = p.causal ? t + 1 : all_keys;
      double most = -1e300, sum = 0.0;
      for (int64_t s = 0; s < keys; ++s)
        most = std::max(most, e[static_cast<size_t>(s)] = scale * score(t, s));
      for (int64_t s = 0; s < keys; ++s)
        sum += e[static_cast<size_t>(s)] = std::exp(e[static_cast<size_t>(s)] - most);
      std::fill(y.begin(), y.end(), 0.0);
      for (int64_t s = 0; s < keys; ++s)
        for (size_t d = 0; d < y.size(); ++d)
          y[d] += e[static_cast<size_t>(s)] * v[static_cast<size_t>(s) * y.size() + d];
      for (size_t d = 0; d < y.size(); ++d)
        store(p.out, type, t * p.ldo + h * p.head_dim + static_cast<int64_t>(d),
              static_cast<float>(y[d] / sum));
    }
  }
}

// q . k of int8 heads.
struct S8Score {
  const AttentionParams& p;
  double operator()(int64_t h, int64_t kv, int64_t t, int64_t s) const {
    const int64_t blocks = (p.tokens + kS8KeyBlock - 1) / kS8KeyBlock;
    const auto* const q = static_cast<const int8_t*>(p.q) + (h * p.tokens + t) * p.head_dim;
    const auto* const k = static_cast<const int8_t*>(p.k) + (kv * p.tokens + s) * p.head_dim;
    int32_t sum = 0;
    for (int64_t d = 0; d < p.head_dim; ++d) sum += int32_t{q[d]} * k[d];
    return static_cast<double>(sum) * p.q_scale[h * p.tokens + t] *
           p.k_scale[kv * blocks + s / kS8KeyBlock];
  }
};

// One query of one head over int8 values: the weights of each kS8ValueKeys keys in steps of a 255th
// of their greatest.
void attend_s8_values(const AttentionParams& p, int64_t h, int64_t t) {
  const int64_t d = p.head_dim, kv = h / (p.heads / p.kv_heads);
  const int64_t groups = (p.tokens + kS8ValueKeys - 1) / kS8ValueKeys;
  const S8Score score{p};
  std::vector<double> x(static_cast<size_t>(p.tokens)), y(static_cast<size_t>(d), 0.0);
  for (int64_t s = 0; s < p.tokens; ++s)
    x[static_cast<size_t>(s)] = score(h, kv, t, s) / std::sqrt(static_cast<double>(d));
  const double most = *std::max_element(x.begin(), x.end());
  double total = 0.0;
  for (int64_t first = 0; first < p.tokens; first += kS8ValueKeys) {
    const auto begin = x.begin() + first;
    const auto end = x.begin() + std::min<int64_t>(p.tokens, first + kS8ValueKeys);
    const double greatest = *std::max_element(begin, end);
    const double factor = std::exp(greatest - most);
    const auto* const group =
        static_cast<const int8_t*>(p.v) + (kv * groups * kS8ValueKeys + first) * d;
    for (int position = 0; position < kS8ValueKeys; ++position) {
      const int key = s8_value_key(position);
      if (key >= end - begin) continue;
      const double weight = std::exp(begin[key] - greatest);
      total += factor * weight;
      const double level = factor * std::nearbyint(255.0 * weight) / 255.0;
      for (int64_t c = 0; c < d; ++c)
        y[static_cast<size_t>(c)] += level * group[c * kS8ValueKeys + position];
    }
  }
  for (int64_t c = 0; c < d; ++c)
    store(p.out, DType::kBF16, t * p.ldo + h * d + c,
          static_cast<float>(p.v_mean[kv * d + c] +
                             p.v_scale[kv * d + c] * y[static_cast<size_t>(c)] / total));
}

void attend_float(const AttentionParams& p, DType type) {
  attend(p, type, [&](int64_t h, int64_t kv) {
    return [d = static_cast<size_t>(p.head_dim),
            q = head_rows(p.q, type, p.tokens, p.ldq, h, p.head_dim),
            k = head_rows(p.k, type, keys_of(p), p.ldk, kv, p.head_dim)](int64_t t, int64_t s) {
      const float* const query = q.data() + static_cast<size_t>(t) * d;
      const float* const key = k.data() + static_cast<size_t>(s) * d;
      double sum = 0.0;
      for (size_t i = 0; i < d; ++i) sum += static_cast<double>(query[i]) * key[i];
      return sum;
    };
  });
}

// y [m, n] = a [m, k] x w [n, k]^T + bias.
void multiply(const void* a, const void* w, DType in, const float* bias, void* y, DType out,
              const LtShape& s) {
  const auto k = static_cast<size_t>(s.k);
  std::vector<float> rows(static_cast<size_t>(s.m) * k), column(k);
  for (size_t i = 0; i < rows.size(); ++i) rows[i] = load(a, in, static_cast<int64_t>(i));
  for (int64_t n = 0; n < s.n; ++n) {
    for (size_t i = 0; i < k; ++i) column[i] = load(w, in, n * s.k + static_cast<int64_t>(i));
    for (int64_t m = 0; m < s.m; ++m) {
      double sum = bias ? bias[n] : 0.0f;
      const float* const row = rows.data() + static_cast<size_t>(m) * k;
      for (size_t i = 0; i < k; ++i) sum += static_cast<double>(row[i]) * column[i];
      store(y, out, m * s.n + n, static_cast<float>(sum));
    }
  }
}

class DoubleProduct final : public LtProduct {
 public:
  DoubleProduct(LtKind kind, const LtShape& shape) : kind_(kind), shape_(shape) {}
  int algorithms() const override { return 1; }
  void use_algorithm(int) override {}
  cudaError_t run(const LtCall& call, void* workspace, cudaStream_t stream) const override {
    return launch(stream, "lt_product", [call, workspace, kind = kind_, shape = shape_] {
      constexpr size_t kEnd = 4096;
      use(workspace, kEnd);
      use(static_cast<char*>(workspace) + kWorkspaceBytes - kEnd, kEnd);
      multiply(call.a, call.w, kind == LtKind::kF32 ? DType::kF32 : DType::kBF16, call.bias,
               call.out, kind == LtKind::kBF16 ? DType::kBF16 : DType::kF32, shape);
    });
  }

 private:
  LtKind kind_;
  LtShape shape_;
};

cudaError_t convolve(const Conv2dParams& p, const char* name, cudaStream_t stream) {
  return launch(stream, name, [p] {
    const Conv2dGeometry g = conv2d_geometry(p);
    const DType in = p.type == Conv2dType::kF32 ? DType::kF32 : DType::kBF16;
    const DType out = p.f32_out ? DType::kF32 : in;
    for (int32_t phase = 0; phase < g.phases; ++phase) {
      for (int32_t pixel = 0; pixel < g.pixels; ++pixel) {
        const int32_t y = pixel / g.width + conv2d_first_row(g, phase);
        const int32_t x = pixel % g.width + conv2d_first_column(g, phase);
        for (int64_t o = 0; o < p.out_channels; ++o) {
          double sum = p.bias ? p.bias[o] : 0.0f;
          for (int32_t tap = 0; tap < g.taps; ++tap) {
            const int32_t row = y + tap / g.side, column = x + tap % g.side;
            if (row < 0 || row >= g.height || column < 0 || column >= g.width) continue;
            const int64_t from = (int64_t{row} * g.width + column) * p.in_channels;
            const int64_t w =
                ((int64_t{phase} * p.out_channels + o) * g.taps + tap) * g.channels_padded;
            for (int64_t c = 0; c < p.in_channels; ++c)
              sum += static_cast<double>(load(p.x, in, from + c)) * load(p.w, in, w + c);
          }
          const int64_t at = int64_t{conv2d_output_pixel(g, phase, pixel)} * p.out_channels + o;
          if (p.add) sum += load(p.add, out, at);
          store(p.y, out, at, static_cast<float>(sum));
        }
      }
    }
  });
}

// Head h of token t, normed and turned.
std::vector<float> turned_head(const QkNormRopeParams& p, const void* data, const float* weight,
                               int64_t t, int64_t h) {
  const int64_t half = p.head_dim / 2, at = t * p.ld + h * p.head_dim;
  std::vector<float> x(static_cast<size_t>(p.head_dim));
  double squares = 0.0;
  for (int64_t d = 0; d < p.head_dim; ++d) {
    const float value = x[static_cast<size_t>(d)] = load(data, p.type, at + d);
    squares += static_cast<double>(value) * value;
  }
  const double inverse = 1.0 / std::sqrt(squares / static_cast<double>(p.head_dim) + p.eps);
  for (int64_t d = 0; weight != nullptr && d < p.head_dim; ++d)
    x[static_cast<size_t>(d)] = static_cast<float>(x[static_cast<size_t>(d)] * inverse) * weight[d];
  for (int64_t d = 0; p.cos != nullptr && d < half; ++d) {
    const bool adjacent = p.pairing == RopePairing::kAdjacent;
    float& first = x[static_cast<size_t>(adjacent ? 2 * d : d)];
    float& second = x[static_cast<size_t>(adjacent ? 2 * d + 1 : d + half)];
    const float a = first, b = second, cos = p.cos[t * half + d], sin = p.sin[t * half + d];
    first = a * cos - b * sin;
    second = b * cos + a * sin;
  }
  return x;
}

void norm_and_rotate(const QkNormRopeParams& p, void* data, int64_t heads, const float* weight) {
  for (int64_t t = 0; t < p.tokens; ++t) {
    for (int64_t h = 0; h < heads; ++h) {
      const std::vector<float> y = turned_head(p, data, weight, t, h);
      for (int64_t d = 0; d < p.head_dim; ++d)
        store(data, p.type, t * p.ld + h * p.head_dim + d, y[static_cast<size_t>(d)]);
    }
  }
}

// Of `tokens` tokens of a head that share a scale; value(t, d).
template <class Value>
void quantize_block(const QkNormRopeParams& p, int64_t tokens, Value&& value, int8_t* out,
                    float* scale) {
  double most = 0.0;
  for (int64_t t = 0; t < tokens; ++t)
    for (int64_t d = 0; d < p.head_dim; ++d)
      most = std::max(most, std::fabs(static_cast<double>(value(t, d))));
  *scale = std::max(static_cast<float>(most / 127.0), kMinQuantScale);
  for (int64_t t = 0; t < tokens; ++t)
    for (int64_t d = 0; d < p.head_dim; ++d)
      out[t * p.head_dim + d] = static_cast<int8_t>(std::lround(value(t, d) / *scale));
}

}  // namespace

// --- attention -----------------------------------------------------------------------------------

const char* plain_attention_refusal(const AttentionParams&, AttentionType) { return nullptr; }
cudaError_t plain_attention(const AttentionParams& p, AttentionType type, cudaStream_t stream) {
  return launch(stream, "plain_attention", [p, type] {
    attend_float(p, type == AttentionType::kF32 ? DType::kF32 : DType::kBF16);
  });
}

const char* sm80_bf16_attention_refusal(const AttentionParams&) { return nullptr; }
cudaError_t sm80_bf16_attention(const AttentionParams& p, cudaStream_t stream) {
  return launch(stream, "sm80_bf16_attention", [p] { attend_float(p, DType::kBF16); });
}
const char* sm80_s8_attention_refusal(const AttentionParams&) { return nullptr; }
cudaError_t sm80_s8_attention(const AttentionParams& p, cudaStream_t stream) {
  return launch(stream, "sm80_s8_attention", [p] {
    attend(p, DType::kBF16, [&p](int64_t h, int64_t kv) {
      return [&p, h, kv](int64_t t, int64_t s) { return S8Score{p}(h, kv, t, s); };
    });
  });
}

const char* sm80_s8_values_attention_refusal(const AttentionParams&) { return nullptr; }
cudaError_t sm80_s8_values_attention(const AttentionParams& p, cudaStream_t stream) {
  return launch(stream, "sm80_s8_values_attention", [p] {
    for (int64_t h = 0; h < p.heads; ++h)
      for (int64_t t = 0; t < p.tokens; ++t) attend_s8_values(p, h, t);
  });
}

const char* s8_values_refusal(const S8ValuesParams&) { return nullptr; }
size_t s8_values_workspace_bytes(const S8ValuesParams& p) {
  return 3 * sizeof(float) * static_cast<size_t>(p.kv_heads) * static_cast<size_t>(p.head_dim);
}
cudaError_t s8_values(const S8ValuesParams& p, cudaStream_t stream) {
  return launch(stream, "s8_values", [p] {
    use(p.workspace, s8_values_workspace_bytes(p));
    const Status status = ref::quantize_values({}, {.v = p.v,
                                                    .ldv = p.ldv,
                                                    .tokens = p.tokens,
                                                    .kv_heads = p.kv_heads,
                                                    .head_dim = p.head_dim,
                                                    .dtype = p.type,
                                                    .out = {p.values, p.scale, p.mean}});
    if (!status) std::abort();
  });
}

const char* sm80_attention_tile(Sm80AttentionType, const AttentionParams&) {
  return "tile of the double";
}

const char* sm90a_attention_tile(const AttentionParams&, bool) { return ""; }
const char* sm90a_bf16_attention_refusal(const AttentionParams&) { return kMissing; }
const char* sm90a_s8_attention_refusal(const AttentionParams&) { return kMissing; }
cudaError_t sm90a_bf16_attention(const AttentionParams&, cudaStream_t) {
  return cudaErrorInvalidValue;
}
cudaError_t sm90a_s8_attention(const AttentionParams&, cudaStream_t) {
  return cudaErrorInvalidValue;
}

const char* qk_norm_rope_refusal(const QkNormRopeParams&) { return nullptr; }
size_t qk_norm_rope_workspace_bytes(const QkNormRopeParams& p) {
  if (p.q8 == nullptr) return 0;
  return static_cast<size_t>(p.kv_heads) * static_cast<size_t>(p.head_dim) *
         static_cast<size_t>(key_blocks(p) + 1) * sizeof(float);
}
cudaError_t qk_norm_rope(const QkNormRopeParams& p, cudaStream_t stream) {
  return launch(stream, "qk_norm_rope", [p] {
    use(p.workspace, qk_norm_rope_workspace_bytes(p));
    norm_and_rotate(p, p.k, p.kv_heads, p.k_weight);
    if (p.q8 == nullptr) {
      norm_and_rotate(p, p.q, p.heads, p.q_weight);
      return;
    }
    for (int64_t h = 0; h < p.heads; ++h) {
      for (int64_t t = 0; t < p.tokens; ++t) {
        const std::vector<float> y = turned_head(p, p.q, p.q_weight, t, h);
        const auto value = [&](int64_t, int64_t d) { return y[static_cast<size_t>(d)]; };
        quantize_block(p, 1, value, p.q8 + (h * p.tokens + t) * p.head_dim,
                       p.q_scale + h * p.tokens + t);
      }
    }
    for (int64_t h = 0; h < p.kv_heads; ++h) {
      const auto key = [&](int64_t t, int64_t d) {
        return static_cast<double>(load(p.k, p.type, t * p.ld + h * p.head_dim + d));
      };
      std::vector<double> mean(static_cast<size_t>(p.head_dim));
      for (int64_t t = 0; t < p.tokens; ++t)
        for (int64_t d = 0; d < p.head_dim; ++d)
          mean[static_cast<size_t>(d)] += key(t, d) / static_cast<double>(p.tokens);
      for (int64_t b = 0; b < key_blocks(p); ++b) {
        const int64_t first = b * kS8KeyBlock;
        const auto value = [&](int64_t t, int64_t d) {
          return key(first + t, d) - mean[static_cast<size_t>(d)];
        };
        quantize_block(p, std::min<int64_t>(kS8KeyBlock, p.tokens - first), value,
                       p.k8 + (h * p.tokens + first) * p.head_dim,
                       p.k_scale + h * key_blocks(p) + b);
      }
    }
  });
}

// --- convolutions ---

const char* sm80_conv2d_refusal(const Conv2dParams& p) {
  return p.type == Conv2dType::kBF16 ? nullptr : "pictures are not bf16";
}
std::span<const Conv2dConfig> sm80_conv2d_configs() {
  static constexpr Conv2dConfig kConfig{
      .tile_m = 128, .tile_n = 64, .tile_k_bytes = 64, .stages = 3};
  return {&kConfig, 1};
}
int sm80_conv2d_choice(const Conv2dParams&) { return 0; }
cudaError_t sm80_conv2d(const Conv2dParams& p, cudaStream_t stream) {
  return convolve(p, "sm80_conv2d", stream);
}
const char* plain_conv2d_refusal(const Conv2dParams&) { return nullptr; }
cudaError_t plain_conv2d(const Conv2dParams& p, cudaStream_t stream) {
  return convolve(p, "plain_conv2d", stream);
}

// --- linears ---

Expected<int> current_device() { return 0; }
Expected<int> stream_device(void*) { return 0; }
Expected<MemoryInfo> memory_info(const void*) { return MemoryInfo{MemoryKind::kDevice, 0}; }
Status check_device(int device) {
  if (device >= 0 && device < test::DeviceDouble::kDevices) return {};
  return make_error(ErrorCode::kUnsupported, "device: {}, expected at most {}", device,
                    test::DeviceDouble::kDevices - 1);
}

Status int8_quantize_rows(const Int8RowsCall& c, void* stream) {
  if (c.ldq % 16 != 0)
    return make_error(ErrorCode::kUnsupported, "int8 quantization of [{}, {}]: ldq {}", c.rows,
                      c.cols, c.ldq);
  const cudaError_t error = launch(static_cast<cudaStream_t>(stream), "quantize_rows",
                                   [c] { test::reference_quantize_rows(c); });
  if (error == cudaSuccess) return {};
  return make_error(ErrorCode::kDevice, "quantize_rows: {}", cudaGetErrorString(error));
}

// As a product that is split along k would ask for.
Expected<size_t> int8_gemm_workspace(const S8GemmParams& p, int) {
  return static_cast<size_t>(p.m) * static_cast<size_t>(p.n) * sizeof(int32_t);
}

std::string int8_gemm_kernel(const S8GemmParams&, int) { return "s8_gemm of the double"; }

Status int8_gemm(const S8GemmParams& p, int, Int8Workspace workspace, void* stream) {
  const cudaError_t error = launch(static_cast<cudaStream_t>(stream), "s8_gemm", [p, workspace] {
    use(workspace.data, workspace.bytes);
    test::reference_s8_gemm(p, p.out);
  });
  if (error == cudaSuccess) return {};
  return make_error(ErrorCode::kDevice, "s8_gemm: {}", cudaGetErrorString(error));
}

const char* dequantize_weights_refusal(const DequantizeWeightsParams& p) {
  return p.format == WeightFormat::kQ8_0 ? kMissing : nullptr;
}
cudaError_t dequantize_weights(const DequantizeWeightsParams& p, cudaStream_t stream) {
  return launch(stream, "dequantize_weights", [p] {
    auto* const out = static_cast<BFloat16*>(p.out);
    for (int64_t i = 0; i < int64_t{p.n} * p.k; ++i) {
      if (p.format == WeightFormat::kNf4) {
        const int code = nf4_code(static_cast<const uint8_t*>(p.w)[i / 2], i);
        out[i] = BFloat16(nf4_value(code) * p.scale[i / kNf4Block]);
      } else {
        const int8_t q = static_cast<const int8_t*>(p.w)[i / p.k * p.ldw + i % p.k];
        out[i] = BFloat16(static_cast<float>(q) * p.scale[i / p.k]);
      }
    }
  });
}

cudaError_t quantize_nf4(const void* w, int64_t count, uint8_t* codes, float* absmax,
                         cudaStream_t stream) {
  return launch(stream, "quantize_nf4", [=] {
    const auto* const x = static_cast<const BFloat16*>(w);
    for (int64_t block = 0; block < nf4_blocks(count); ++block) {
      float most = 0.0f;
      for (int64_t i = 0; i < kNf4Block; ++i)
        most = std::max(most, std::fabs(static_cast<float>(x[block * kNf4Block + i])));
      absmax[block] = most;
      for (int64_t i = block * kNf4Block; i < (block + 1) * kNf4Block; i += 2) {
        const auto code = [&](int64_t at) {
          return most > 0.0f ? nf4_nearest(static_cast<float>(x[at]) / most) : 7;
        };
        codes[i / 2] = static_cast<uint8_t>(code(i) << 4 | code(i + 1));
      }
    }
  });
}

const char* e4m3_rows_refusal(const E4m3RowsParams&) { return kMissing; }
cudaError_t e4m3_rows(const E4m3RowsParams&, cudaStream_t) { return cudaErrorInvalidValue; }

const char* narrow_gemm_refusal(const PlainGemmParams&) { return kMissing; }
cudaError_t narrow_gemm(const PlainGemmParams&, cudaStream_t) { return cudaErrorInvalidValue; }

const char* plain_gemm_refusal(const PlainGemmParams&) { return nullptr; }
cudaError_t plain_gemm(const PlainGemmParams& p, cudaStream_t stream) {
  return launch(stream, "plain_gemm", [p] {
    for (int64_t m = 0; m < p.m; ++m) {
      for (int64_t n = 0; n < p.n; ++n) {
        double sum = p.bias ? p.bias[n] : 0.0f;
        for (int64_t k = 0; k < p.k; ++k)
          sum += static_cast<double>(load(p.a, p.type, m * p.lda + k)) *
                 load(p.w, p.type, n * p.ldw + k);
        store(p.out, p.out_type, m * p.ldo + n, static_cast<float>(sum));
      }
    }
  });
}

std::string cublaslt_version(std::string&) { return "13.0.0"; }
std::unique_ptr<LtProduct> LtProduct::make(LtKind kind, const LtShape& shape, const LtScales&,
                                           std::string& error) {
  if (kind == LtKind::kBF16 || kind == LtKind::kBF16ToF32 || kind == LtKind::kF32)
    return std::make_unique<DoubleProduct>(kind, shape);
  error = kMissing;
  return nullptr;
}

}  // namespace intaglio::cuda
