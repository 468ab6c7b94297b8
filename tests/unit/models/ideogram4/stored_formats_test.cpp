// Whole transformers from checkpoints of other programs, against velocities of the published code
// with the same weights as floats.
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "core/memory.h"
#include "models/ideogram4/config.h"
#include "models/ideogram4/transformer.h"
#include "support/operands.h"
#include "support/tested_devices.h"
#include "unit/io/formats/format_files.h"

namespace intaglio::ideogram4 {
namespace {

constexpr int64_t kGridH = 4, kGridW = 6;  // note.json

TransformerConfig config() {
  return parse_transformer_config(
             *JsonConfig::open(test::source_path("tests/formats/base/reference/config.json")))
      .value();
}

double relative_difference(const std::vector<float>& got, const std::vector<float>& expected) {
  double error = 0.0, norm = 0.0;
  for (size_t i = 0; i < expected.size(); ++i) {
    error += std::pow(static_cast<double>(got[i]) - static_cast<double>(expected[i]), 2);
    norm += std::pow(static_cast<double>(expected[i]), 2);
  }
  return std::sqrt(error / norm);
}

// A transformer planned and loaded from `path`, in the folder tests/formats.
class Loaded {
 public:
  Loaded(const Context& context, const std::string& path, Precision precision) : context_(context) {
    const auto checkpoint = Checkpoint::open(test::source_path("tests/formats/" + path)).value();
    TransformerOptions options{.selection = {.precision = precision}};
    const auto source = Transformer(config(), options).open_source(checkpoint).value();
    options.source = source;
    transformer_ = std::make_unique<Transformer>(config(), options);
    // The plan is that of the loaded model; on a GPU it counts the library's products for biased
    // ones.
    EXPECT_TRUE(transformer_->describe(context_));
    const PassSize size{.text_tokens = 5, .grid_h = kGridH, .grid_w = kGridW};
    const size_t planned = transformer_->scratch_bytes(context_, size, 1);
    const Status loaded = transformer_->load(context_, *source);
    EXPECT_TRUE(loaded) << loaded.error().message;
    const size_t taken = transformer_->scratch_bytes(context_, size, 1);
    EXPECT_LE(taken, planned);
    if (context_.gpu == nullptr) EXPECT_EQ(taken, planned);
    arena_ = Arena(allocate(context_, planned).value());
    context_.scratch = &arena_;
  }

  std::vector<float> velocity(const SafetensorsFile& expected, const std::string& file) {
    const auto read = [&](const std::string& name) {
      return read_floats(*expected.find(file + "/" + name)).value();
    };
    std::vector<float> text = read("text_features"), latents = read("latents");
    const std::vector<float> time = read("timestep");
    std::vector<float> velocity(latents.size());
    test::Operands on(context_);
    TransformerSession session;
    const Status prepared =
        transformer_->prepare(context_, {.tokens = 5, .features = on.in(text.data(), text.size())},
                              kGridH, kGridW, time, session);
    EXPECT_TRUE(prepared) << prepared.error().message;
    EXPECT_TRUE(transformer_->select_step(context_, session, 0));
    const Status status =
        transformer_->forward(context_, session, on.in(latents.data(), latents.size()),
                              on.out(velocity.data(), velocity.size()));
    EXPECT_TRUE(status) << status.error().message;
    on.fetch();
    return velocity;
  }

 private:
  Context context_;
  Arena arena_;
  std::unique_ptr<Transformer> transformer_;
};

// Of the velocity, as tests/formats/README.md has it for floats; int8 rounds the activations too,
// in layers of 64 channels that average little of it away.
double tolerance(Precision precision) {
  if (precision == Precision::kFp32) return 2e-4;
  return precision == Precision::kBf16 ? 2e-2 : 4e-2;
}

void compare(const Context& context, const std::string& folder, const std::string& file,
             Precision precision) {
  const auto expected = file_at(folder + "/expected.safetensors");
  Loaded loaded(context, folder + "/" + file + ".safetensors", precision);
  const std::vector<float> velocity = read_floats(*expected->find(file + "/velocity")).value();
  EXPECT_LT(relative_difference(loaded.velocity(*expected, file), velocity), tolerance(precision));
}

TEST(StoredFormats, ComfyUisInt8CheckpointsDraw) {
  test::each_device([](const Context& context, const std::string& device) {
    for (const std::string folder :
         {"comfy_int8_tensorwise", "comfy_int8_rowwise", "comfy_int8_convrot16",
          "comfy_int8_convrot64", "comfy_int8_convrot256"}) {
      for (const Precision precision :
           {Precision::kFp32, Precision::kBf16, Precision::kInt8, Precision::kInt8Dequant}) {
        SCOPED_TRACE(folder + " " + std::string(precision_name(precision)) + " at " + device);
        compare(context, folder, "model", precision);
      }
    }
  });
}

}  // namespace
}  // namespace intaglio::ideogram4
