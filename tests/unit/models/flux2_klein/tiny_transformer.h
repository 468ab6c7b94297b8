// The transformer of tests/reference/flux2_klein/tiny, and what it makes of its smallest case.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "core/memory.h"
#include "io/safetensors.h"
#include "models/flux2_klein/transformer.h"
#include "support/source_folder.h"
#include "support/tested_devices.h"

namespace intaglio::flux2_klein {

inline std::filesystem::path tiny_weights() {
  return test::source_path(
      "tests/reference/flux2_klein/tiny/transformer/diffusion_pytorch_model.safetensors");
}

inline TransformerConfig tiny_config() {
  const std::string folder = test::source_path("tests/reference/flux2_klein/tiny/transformer");
  return parse_transformer_config(*JsonConfig::open(folder + "/config.json")).value();
}

// The case transformer_small_0: a grid of 8 x 8, 11 text tokens.
struct TinyCase {
  PassSize size{.text_tokens = 11, .grid_h = 8, .grid_w = 8};
  std::vector<float> latents, text, time, velocity;

  TinyCase() {
    const auto file =
        SafetensorsFile::open(
            test::source_path("tests/reference/flux2_klein/cases/transformer_small_0.safetensors"))
            .value();
    latents = read_floats(*file->find("latents")).value();
    text = read_floats(*file->find("text_features")).value();
    time = read_floats(*file->find("timestep")).value();
    velocity = read_floats(*file->find("velocity")).value();
  }
};

// Weights on the CPU, and a session for the case.
class TinyTransformer {
 public:
  TinyTransformer(const std::filesystem::path& weights, TransformerOptions options) {
    context_.threads = 2;
    context_.cpu = host_cpu_features();
    const auto source = Transformer(tiny_config(), options).open_source(*Checkpoint::open(weights));
    EXPECT_TRUE(source) << source.error().message;
    if (!source) return;
    options.source = *source;
    transformer_ = std::make_unique<Transformer>(tiny_config(), options);
    EXPECT_TRUE(transformer_->describe(context_));
    const size_t planned = transformer_->scratch_bytes(context_, case_.size, 1);
    const Status loaded = transformer_->load(context_, **source);
    EXPECT_TRUE(loaded) << loaded.error().message;
    EXPECT_EQ(transformer_->scratch_bytes(context_, case_.size, 1), planned);
    arena_ = std::make_unique<Arena>(allocate(context_, planned).value());
    context_.scratch = arena_.get();
    const Status prepared =
        transformer_->prepare(context_, {.tokens = 11, .features = case_.text.data()},
                              case_.size.grid_h, case_.size.grid_w, case_.time, session_);
    EXPECT_TRUE(prepared) << prepared.error().message;
    EXPECT_TRUE(transformer_->select_step(context_, session_, 0));
  }

  const TinyCase& reference() const { return case_; }
  const Transformer& transformer() const { return *transformer_; }
  size_t peak() const { return arena_->peak(); }
  size_t planned() const { return transformer_->scratch_bytes(context_, case_.size, 1); }

  std::vector<float> velocity(const BlockCache& cache = {}) const {
    std::vector<float> v(case_.latents.size());
    const Status status =
        transformer_->forward(context_, session_, case_.latents.data(), v.data(), nullptr, cache);
    EXPECT_TRUE(status) << status.error().message;
    return v;
  }

 private:
  TinyCase case_;
  Context context_;
  std::unique_ptr<Transformer> transformer_;
  std::unique_ptr<Arena> arena_;
  TransformerSession session_;
};

}  // namespace intaglio::flux2_klein
