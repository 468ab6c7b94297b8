#include "device/written_model.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>

#include "core/philox.h"
#include "io/safetensors.h"

namespace intaglio::test {
namespace {

// Norm weights about 1, biases small, matrices that keep the size of what they are given.
Status write_tensors(const std::filesystem::path& file, const TensorShapes& shapes, uint64_t seed) {
  std::vector<std::vector<float>> values;
  std::vector<TensorEntry> entries;
  for (const auto& [name, shape] : shapes) {
    std::vector<float>& v = values.emplace_back(static_cast<size_t>(shape.count()));
    fill_normal(seed++, v.data(), shape.count());
    const float deviation = shape.rank == 2 ? 1.0f / std::sqrt(static_cast<float>(shape[1])) : 0.1f;
    const float mean = shape.rank == 1 && name.ends_with(".weight") ? 1.0f : 0.0f;
    for (float& x : v) x = mean + deviation * x;
    TensorEntry entry;
    entry.name = name;
    entry.view = {v.data(), DType::kF32, shape};
    entries.push_back(std::move(entry));
  }
  return write_safetensors(file, entries);
}

std::string config_of(const ideogram4::TransformerConfig& c) {
  return fmt::format(
      R"({{"num_layers": {}, "num_attention_heads": {}, "attention_head_dim": {}, "intermediate_size": {}, "adaln_dim": {}, )"
      R"("in_channels": {}, "llm_features_dim": {}, "mrope_section": [{}], "rope_theta": {}, "norm_eps": {}}})",
      c.layers, c.heads, c.head_dim, c.intermediate, c.adaln_dim, c.channels, c.text_dim,
      fmt::join(c.mrope_section, ", "), c.rope_theta, c.norm_eps);
}

std::string config_of(const qwen3::TextEncoderConfig& c) {
  return fmt::format(
      R"({{"num_hidden_layers": {}, "num_attention_heads": {}, "num_key_value_heads": {}, "head_dim": {}, "hidden_size": {}, )"
      R"("intermediate_size": {}, "vocab_size": {}, "rope_theta": {}, "rms_norm_eps": {}}})",
      c.layers, c.heads, c.kv_heads, c.head_dim, c.hidden, c.intermediate, c.vocab, c.rope_theta,
      c.norm_eps);
}

class WrittenSource final : public ModelSource {
 public:
  explicit WrittenSource(std::function<void(const std::string&)> on_load)
      : on_load_(std::move(on_load)) {}

  Status write(const WrittenSizes& sizes) {
    info_.name = "written";
    transformer_ = sizes.conditional;
    unconditional_ = sizes.unconditional;
    text_ = sizes.text;
    vae_ = sizes.vae;
    taps_ = fmt::format(R"({{"text_activation_layers": [{}]}})", fmt::join(text_.taps, ", "));
    folder_.write("model_index.json", taps_);
    folder_.write("transformer/config.json", config_of(sizes.conditional));
    folder_.write("unconditional/config.json", config_of(sizes.unconditional));
    folder_.write("text/config.json", config_of(sizes.text));
    INTAGLIO_TRY(write_tensors(folder_ / "transformer/model.safetensors",
                               ideogram4::transformer_tensor_shapes(sizes.conditional, true),
                               1000));
    INTAGLIO_TRY(write_tensors(folder_ / "unconditional/model.safetensors",
                               ideogram4::transformer_tensor_shapes(sizes.unconditional, false),
                               2000));
    INTAGLIO_TRY(write_tensors(folder_ / "text/model.safetensors",
                               qwen3::text_encoder_tensor_shapes(sizes.text, "model."), 3000));
    return join_parts("written");
  }

  Status check_keep_bf16(const LayerSelection&) const override { return {}; }
  Expected<std::vector<int32_t>> tokenize(std::string_view prompt) const override {
    return std::vector<int32_t>(prompt.begin(), prompt.end());
  }
  Expected<std::string> hash(const std::atomic<bool>*) const override {
    return std::string(16, '0');
  }
  Expected<qwen3::TextEncoder> load_text_encoder(const Context& context,
                                                 const LayerSelection& selection,
                                                 uint64_t weight_budget) const override {
    const Heard heard(on_load_, "text");
    INTAGLIO_ASSIGN(const JsonConfig index, JsonConfig::open(folder_ / "model_index.json"));
    return qwen3::TextEncoder::load(context, PartFiles::in(folder_ / "text"), selection, &index,
                                    weight_budget);
  }
  Expected<ideogram4::Transformer> load_transformer(
      const Context& context, TransformerRole role,
      const ideogram4::Transformer::LoadOptions& options) const override {
    const bool conditional = role == TransformerRole::kConditional;
    const Heard heard(on_load_, conditional ? "conditional" : "unconditional");
    const auto folder = folder_ / (conditional ? "transformer" : "unconditional");
    return ideogram4::Transformer::load(context, PartFiles::in(folder), options);
  }
  Expected<autoencoder::Decoder> load_vae(const Context& context, DType compute) const override {
    const Heard heard(on_load_, "vae");
    return autoencoder::Decoder::synthetic(context, vae_, compute, 4);
  }

 private:
  struct Heard {
    Heard(const std::function<void(const std::string&)>& to, const char* what) : tell(to) {
      if (tell) tell(what);
    }
    ~Heard() {
      if (tell) tell("");
    }
    const std::function<void(const std::string&)>& tell;
  };

  std::function<void(const std::string&)> on_load_;
  TempFolder folder_;
  std::string taps_;
};

}  // namespace

WrittenSizes tiny_sizes() {
  WrittenSizes sizes;
  ideogram4::TransformerConfig& c = sizes.conditional;
  c.layers = 3;
  c.heads = 1;
  c.head_dim = 64;
  c.intermediate = 96;
  c.adaln_dim = 32;
  c.channels = 16;
  c.text_dim = 128;
  c.mrope_section = {12, 10, 10};
  c.rope_theta = 1e4;
  c.norm_eps = 1e-5f;
  ideogram4::TransformerConfig& u = sizes.unconditional;
  u = c;
  u.layers = 5;
  u.intermediate = 160;
  u.text_dim = 16;
  qwen3::TextEncoderConfig& t = sizes.text;
  t.layers = 2;
  t.heads = 2;
  t.kv_heads = 1;
  t.head_dim = 32;
  t.hidden = 64;
  t.intermediate = 96;
  t.vocab = 128;
  t.rope_theta = 1e4;
  t.norm_eps = 1e-6f;
  t.taps = {0, 1};
  sizes.vae.latent_channels = 4;
  sizes.vae.widths = {16, 16};
  sizes.vae.layers_per_block = 1;
  sizes.vae.norm_groups = 4;
  sizes.vae.batch_norm_eps = 1e-4;
  return sizes;
}

WrittenSizes planned_sizes(bool swapped) {
  WrittenSizes sizes = tiny_sizes();
  ideogram4::TransformerConfig& wide = swapped ? sizes.unconditional : sizes.conditional;
  ideogram4::TransformerConfig& deep = swapped ? sizes.conditional : sizes.unconditional;
  wide.layers = 3;
  wide.heads = 4;
  wide.intermediate = 2048;
  deep.layers = 5;
  deep.heads = 2;
  deep.intermediate = 2048;
  sizes.conditional.text_dim = sizes.text.feature_dim();
  return sizes;
}

std::shared_ptr<const ModelSource> written_model(const WrittenSizes& sizes,
                                                 std::function<void(const std::string&)> on_load) {
  auto source = std::make_shared<WrittenSource>(std::move(on_load));
  const Status written = source->write(sizes);
  EXPECT_TRUE(written) << written.error().message;
  return source;
}

}  // namespace intaglio::test
