// Whole transformers from checkpoints of other programs, against velocities of the published code
// with the same weights as floats.
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "core/memory.h"
#include "core/relative_error.h"
#include "io/gguf.h"
#include "support/temp_folder.h"
#include "support/tested_devices.h"
#include "unit/models/ideogram4/small_base.h"

namespace intaglio::ideogram4 {
namespace {

// A transformer planned and loaded from `path`, in the folder tests/formats unless it is absolute.
class Loaded {
 public:
  Loaded(const Context& context, const std::string& path, Precision precision) : context_(context) {
    const std::filesystem::path folder = test::source_path("tests/formats");
    const auto checkpoint = Checkpoint::open(folder / path).value();
    TransformerOptions options{.selection = {.precision = precision}};
    const auto source = Transformer(small_config(), options).open_source(checkpoint).value();
    options.source = source;
    transformer_ = std::make_unique<Transformer>(small_config(), options);
    // The plan is that of the loaded model; on a GPU it counts the library's products for biased
    // ones.
    EXPECT_TRUE(transformer_->describe(context_));
    const size_t planned = transformer_->scratch_bytes(context_, kSmallPass, 1);
    const Status loaded = transformer_->load(context_, *source);
    EXPECT_TRUE(loaded) << loaded.error().message;
    const size_t taken = transformer_->scratch_bytes(context_, kSmallPass, 1);
    EXPECT_LE(taken, planned);
    if (context_.gpu == nullptr) {
      EXPECT_EQ(taken, planned);
    }
    arena_ = Arena(allocate(context_, planned).value());
    context_.scratch = &arena_;
  }

  std::vector<float> velocity(const SafetensorsFile& inputs) const {
    return small_velocity(context_, *transformer_, inputs);
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

// A checkpoint of tests/formats whose velocity the published code computed, under `expected` in its
// folder's expected.safetensors.
struct Case {
  std::string folder, path, expected;
};

const Case kDrawn[] = {{"comfy_int8_tensorwise", "model.safetensors", "model"},
                       {"comfy_int8_rowwise", "model.safetensors", "model"},
                       {"comfy_int8_convrot16", "model.safetensors", "model"},
                       {"comfy_int8_convrot64", "model.safetensors", "model"},
                       {"comfy_int8_convrot256", "model.safetensors", "model"},
                       {"base", "reference", "reference/model"},
                       {"base", "diffusers", "reference/model"},
                       {"base", "reference_mixed_prefixed.safetensors", "reference/model"},
                       {"base", "../gguf_bf16/sdcpp.gguf", "reference/model"},
                       {"base", "../gguf_f16/city96.gguf", "reference/model"},
                       {"fp8_plain", "e4m3.safetensors", "e4m3"},
                       {"fp8_plain", "e5m2.safetensors", "e5m2"}};

TEST(StoredFormats, CheckpointsDrawAsThePublishedCodeDoes) {
  test::each_device([](const Context& context, const std::string& device) {
    for (const Case& one : kDrawn) {
      const auto expected = file_at(one.folder + "/expected.safetensors");
      const std::vector<float> velocity =
          read_floats(*expected->find(one.expected + "/velocity")).value();
      for (const Precision precision :
           {Precision::kFp32, Precision::kBf16, Precision::kInt8, Precision::kInt8Dequant}) {
        SCOPED_TRACE(one.folder + "/" + one.path + " " + std::string(precision_name(precision)) +
                     " at " + device);
        Loaded loaded(context, one.folder + "/" + one.path, precision);
        EXPECT_LT(relative_error(loaded.velocity(*expected), velocity), tolerance(precision));
      }
    }
  });
}

// Whole models of which no velocity was computed: each is the same one in other numbers, so that
// what it draws lies near the floats', as far as its bits let it. A layer misread lies far off.
struct Near {
  std::string path;
  double most;
};

const Near kNear[] = {{"bnb_int8/model.safetensors", 0.01},
                      {"bnb_nf4_nested/model.safetensors", 0.08},
                      {"comfy_asym_w4a8/model.safetensors", 0.05},
                      {"comfy_convrot_w4a4/model.safetensors", 0.08},
                      {"comfy_fp8_old/marker.safetensors", 0.02},
                      {"comfy_fp8_old/marker_f32_2_prefixed.safetensors", 0.02},
                      {"comfy_fp8_scaled/e4m3.safetensors", 0.02},
                      {"comfy_fp8_scaled/e5m2.safetensors", 0.04},
                      {"comfy_int8_convrot64/header_only.safetensors", 0.01},
                      {"comfy_int8_old_fast/model.safetensors", 0.01},
                      {"comfy_mxfp8/model.safetensors", 0.02},
                      {"comfy_nvfp4/model.safetensors", 0.08},
                      {"comfy_quants_int8/model.safetensors", 0.01},
                      {"compressed_tensors_w8a8/model.safetensors", 0.01},
                      {"gguf_iq4_nl/prefixed.gguf", 0.08},
                      {"gguf_q4_0/sdcpp.gguf", 0.08},
                      {"gguf_q8_0/city96.gguf", 0.01},
                      {"gguf_q8_0/sdcpp.gguf", 0.01},
                      {"quanto_int8/model.safetensors", 0.01},
                      {"sdnq_int8/model", 0.01},
                      {"sdnq_int8_hadamard/model", 0.01},
                      {"sdnq_int8_matmul/model", 0.01},
                      {"sdnq_int8_svd/model", 0.01}};

TEST(StoredFormats, CheckpointsOfAnyFormatDrawNearTheirSource) {
  const auto expected = file_at("base/expected.safetensors");
  const std::vector<float> velocity =
      read_floats(*expected->find("reference/model/velocity")).value();
  test::each_device([&](const Context& context, const std::string& device) {
    for (const Near& near : kNear) {
      for (const Precision precision : {Precision::kFp32, Precision::kInt8}) {
        SCOPED_TRACE(near.path + " " + std::string(precision_name(precision)) + " at " + device);
        Loaded loaded(context, near.path, precision);
        const double difference = relative_error(loaded.velocity(*expected), velocity);
        EXPECT_LT(difference, near.most);
        EXPECT_GT(difference, 1e-4);  // its numbers are not the floats'
      }
    }
  });
}

// Block by block: the same weights, decoded and written as F32, make the same velocity.
TEST(StoredFormats, BlocksDrawWhatTheirFloatsDraw) {
  const auto expected = file_at("base/expected.safetensors");
  for (const std::string path : {"gguf_q8_0/sdcpp.gguf", "gguf_q4_0/sdcpp.gguf"}) {
    const auto packed = GgufFile::open(test::source_path("tests/formats/" + path)).value();
    std::vector<std::vector<float>> values;
    std::vector<TensorEntry> entries;
    for (const TensorEntry& entry : packed->tensors()) {
      values.push_back(read_floats(entry).value());
      entries.push_back({entry.name, {values.back().data(), DType::kF32, entry.shape()}});
    }
    const TempFolder folder;
    ASSERT_TRUE(write_safetensors(folder / "x.safetensors", entries));
    test::each_device([&](const Context& context, const std::string& device) {
      SCOPED_TRACE(path + " at " + device);
      Loaded blocks(context, path, Precision::kFp32);
      Loaded floats(context, (folder / "x.safetensors").string(), Precision::kFp32);
      EXPECT_EQ(blocks.velocity(*expected), floats.velocity(*expected));
    });
  }
}

}  // namespace
}  // namespace intaglio::ideogram4
