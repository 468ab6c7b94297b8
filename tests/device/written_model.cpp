#include "device/written_model.h"

#include <cmath>

#include "core/philox.h"
#include "io/safetensors.h"
#include "models/ideogram4/model.h"

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

class WrittenModel final : public ideogram4::Model {
 public:
  explicit WrittenModel(std::function<void(const std::string&)> on_load)
      : on_load_(std::move(on_load)) {}

  Status write(const WrittenSizes& sizes) {
    INTAGLIO_TRY(describe_schedules(true));
    info_.name = "written";
    set_sizes({.conditional = sizes.conditional,
               .unconditional = sizes.unconditional,
               .text = sizes.text,
               .vae = sizes.vae});
    for (int which = 0; which < transformers(); ++which) {
      std::filesystem::create_directories(weights_of(which).parent_path());
      INTAGLIO_TRY(write_tensors(weights_of(which), transformer(which, {})->tensor_shapes(),
                                 1000 * static_cast<uint64_t>(which + 1)));
    }
    std::filesystem::create_directories(folder_ / "text");
    INTAGLIO_TRY(write_tensors(folder_ / "text/model.safetensors",
                               qwen3::text_encoder_tensor_shapes(sizes.text, "model."), 3000));
    return join_parts("written");
  }

  Status check_keep_bf16(const LayerSelection&) const override { return {}; }
  Expected<std::vector<int32_t>> tokenize(std::string_view prompt,
                                          std::optional<int64_t>) const override {
    return std::vector<int32_t>(prompt.begin(), prompt.end());
  }
  Expected<std::string> hash(const std::atomic<bool>*) const override {
    return std::string(16, '0');
  }
  Expected<qwen3::TextEncoder> load_text_encoder(const Context& context,
                                                 const LayerSelection& selection,
                                                 uint64_t weight_budget) const override {
    const Heard heard(on_load_, "text");
    return qwen3::TextEncoder::load(context, folder_ / "text", text_, selection, weight_budget);
  }
  Expected<std::unique_ptr<Transformer>> load_transformer(
      const Context& context, int which, TransformerOptions options) const override {
    const Heard heard(on_load_, which == 0 ? "conditional" : "unconditional");
    std::unique_ptr<Transformer> loaded = transformer(which, std::move(options));
    INTAGLIO_ASSIGN(auto checkpoint, Checkpoint::open(weights_of(which)));
    INTAGLIO_ASSIGN(const auto source, loaded->open_source(std::move(checkpoint)));
    INTAGLIO_TRY(loaded->load(context, *source));
    return loaded;
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

  std::filesystem::path weights_of(int which) const {
    return folder_ /
           (which == 0 ? "transformer/model.safetensors" : "unconditional/model.safetensors");
  }

  std::function<void(const std::string&)> on_load_;
  TempFolder folder_;
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

std::shared_ptr<const Model> written_model(const WrittenSizes& sizes,
                                           std::function<void(const std::string&)> on_load) {
  auto source = std::make_shared<WrittenModel>(std::move(on_load));
  const Status written = source->write(sizes);
  EXPECT_TRUE(written) << written.error().message;
  return source;
}

}  // namespace intaglio::test
