#include "models/parts/linear_shapes.h"

#include <algorithm>
#include <array>
#include <utility>

#include "io/printable.h"
#include "ops/cuda/tuning/shape_bucket.h"

namespace intaglio {
namespace {

constexpr int64_t kMaxWidth = 1 << 20;
constexpr int64_t kMaxHeads = 4096;
constexpr int64_t kSwigluUnit = 16;  // gate and up rows alternate in groups of 16

// Sizes from the model card's transformer/config.json on huggingface.co
// (black-forest-labs/FLUX.2-dev); only what is read here.
constexpr std::array<std::pair<std::string_view, std::string_view>, 1> kPublicConfigs{{
    {"flux2",
     R"({"_class_name": "Flux2Transformer2DModel", "num_attention_heads": 48,
         "attention_head_dim": 128, "joint_attention_dim": 15360, "mlp_ratio": 3.0})"},
}};

int64_t padded_gate(int64_t width) { return (width + kSwigluUnit - 1) / kSwigluUnit * kSwigluUnit; }

// One stream's attention and feed-forward. The gate is folded into the first product of the
// feed-forward.
struct Stream {
  std::string prefix;
  int64_t width = 0, hidden = 0;
  LinearRows rows = LinearRows::kSequence;
};

void add_stream(std::vector<ListedLinear>& all, const Stream& s) {
  const int64_t hidden = padded_gate(s.hidden);
  all.push_back({s.prefix + "qkv", 3 * s.width, s.width, GemmEpilogue::kNone, s.rows});
  all.push_back({s.prefix + "out", s.width, s.width, GemmEpilogue::kNone, s.rows});
  all.push_back({s.prefix + "ffn_in", 2 * hidden, s.width, GemmEpilogue::kSwiglu, s.rows});
  all.push_back({s.prefix + "ffn_out", s.width, hidden, GemmEpilogue::kNone, s.rows});
}

Expected<int64_t> width_of_heads(const JsonConfig& json) {
  INTAGLIO_ASSIGN(const int64_t heads, json.integer("num_attention_heads", 1, kMaxHeads));
  INTAGLIO_ASSIGN(const int64_t head_dim, json.integer("attention_head_dim", 1, 1024));
  if (heads * head_dim <= kMaxWidth) return heads * head_dim;
  return make_error(ErrorCode::kBadFormat, "width {} x {} exceeds {}", heads, head_dim, kMaxWidth);
}

// Blocks of two streams, then blocks of one whose attention and feed-forward run side by side: one
// product out of both.
Expected<std::vector<ListedLinear>> flux2_linears(const JsonConfig& json) {
  INTAGLIO_ASSIGN(const int64_t width, width_of_heads(json));
  INTAGLIO_ASSIGN(const double ratio, json.number_or("mlp_ratio", 3.0));
  INTAGLIO_ASSIGN(const int64_t text, json.integer("joint_attention_dim", 1, kMaxWidth));
  if (!(ratio > 0 && ratio <= 64)) {
    return make_error(ErrorCode::kBadFormat, "mlp_ratio: expected a number in (0, 64], found {}",
                      ratio);
  }
  const auto hidden = static_cast<int64_t>(static_cast<double>(width) * ratio);
  const int64_t gate = padded_gate(hidden);
  std::vector<ListedLinear> all;
  add_stream(all, {"double.image.", width, hidden, LinearRows::kImage});
  add_stream(all, {"double.text.", width, hidden, LinearRows::kText});
  all.push_back({"single.qkv", 3 * width, width, GemmEpilogue::kNone, LinearRows::kSequence});
  all.push_back({"single.ffn_in", 2 * gate, width, GemmEpilogue::kSwiglu, LinearRows::kSequence});
  all.push_back({"single.out", width, width + gate, GemmEpilogue::kNone, LinearRows::kSequence});
  all.push_back({"text_in", width, text, GemmEpilogue::kNone, LinearRows::kText});
  return all;
}

}  // namespace

Expected<std::vector<ListedLinear>> transformer_linears(const JsonConfig& config) {
  INTAGLIO_ASSIGN(const std::string name, config.string_or("_class_name", ""));
  if (name == "Flux2Transformer2DModel") return flux2_linears(config);
  return make_error(ErrorCode::kUnsupported,
                    "_class_name: the linears of \"{}\" are not known; give their shapes in a file",
                    printable(name, 60));
}

std::optional<std::string_view> public_transformer_config(std::string_view name) {
  for (const auto& [known, config] : kPublicConfigs) {
    if (known == name) return config;
  }
  return std::nullopt;
}

std::vector<std::string> public_transformer_names() {
  std::vector<std::string> names;
  for (const auto& [name, config] : kPublicConfigs) names.emplace_back(name);
  return names;
}

std::vector<NamedShape> bucketed_shapes(const std::vector<ListedLinear>& linears,
                                        const TokenCounts& tokens) {
  const std::vector<int64_t> image{cuda::bucket_m(tokens.image)};
  const std::vector<int64_t> text = cuda::buckets_between(tokens.first_text, tokens.last_text);
  std::vector<int64_t> sequence =
      cuda::buckets_between(tokens.image + tokens.first_text, tokens.image + tokens.last_text);
  if (tokens.image_alone) sequence.insert(sequence.begin(), image.front());
  std::vector<NamedShape> shapes;
  for (const ListedLinear& linear : linears) {
    const std::vector<int64_t>& rows = linear.rows == LinearRows::kSequence ? sequence
                                       : linear.rows == LinearRows::kImage  ? image
                                                                            : text;
    for (const int64_t m : rows) {
      const cuda::S8GemmShape shape{m, linear.n, linear.k, linear.epilogue, DType::kBF16};
      const bool there = std::any_of(shapes.begin(), shapes.end(),
                                     [&](const NamedShape& s) { return s.shape == shape; });
      if (!there) shapes.push_back({linear.name, shape});
    }
  }
  return shapes;
}

}  // namespace intaglio
