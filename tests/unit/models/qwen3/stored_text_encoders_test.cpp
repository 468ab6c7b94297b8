// Text encoders from checkpoints of other programs.
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "core/cpu_features.h"
#include "core/relative_error.h"
#include "models/qwen3/text_encoder.h"
#include "support/source_folder.h"

namespace intaglio::qwen3 {
namespace {

// The features of a few tokens, of layers 0 and 2.
std::vector<float> features(const std::string& weights, const std::string& config_path,
                            Precision precision) {
  const auto path = [](const std::string& name) {
    return test::source_path("tests/formats/" + name);
  };
  const auto json = JsonConfig::open(path(config_path));
  if (!json) throw std::runtime_error(json.error().message);
  auto config = parse_text_encoder_config(*json);
  if (!config) throw std::runtime_error(config.error().message);
  EXPECT_TRUE(set_taps({0, 2}, "taps", *config));
  Context context{.threads = 2, .cpu = host_cpu_features()};
  const auto encoder = TextEncoder::load(context, path(weights), *config, {.precision = precision});
  if (!encoder) throw std::runtime_error(encoder.error().message);
  const std::vector<int32_t> ids{3, 1, 4, 1, 5, 9, 2, 6};
  auto memory =
      AlignedBuffer::allocate(encoder->scratch_bytes(context, static_cast<int64_t>(ids.size())));
  Arena arena(std::move(*memory));
  context.scratch = &arena;
  std::vector<float> out(ids.size() * static_cast<size_t>(encoder->config().feature_dim()));
  const Status status = encoder->encode(context, ids, out.data());
  EXPECT_TRUE(status) << status.error().message;
  return out;
}

// The three are one model, its first layers as fp8 rows, NF4 blocks and ComfyUI's fp8: what they
// make of a text lies as near as four and three bits of mantissa let it.
TEST(StoredTextEncoders, FormsOfOneModelAgree) {
  const std::string config = "bnb_nf4/text_encoder/config.json";
  for (const Precision precision : {Precision::kFp32, Precision::kBf16}) {
    const std::vector<float> official =
        features("ideogram_fp8/text_encoder", "ideogram_fp8/text_encoder/config.json", precision);
    const std::vector<float> comfy =
        features("comfy_fp8_scaled/text_encoder.safetensors", config, precision);
    const std::vector<float> nf4 = features("bnb_nf4/text_encoder", config, precision);
    EXPECT_LT(relative_error(comfy, official), 0.1);
    EXPECT_LT(relative_error(nf4, official), 0.3);
    EXPECT_GT(relative_error(nf4, official), 1e-3);
  }
}

}  // namespace
}  // namespace intaglio::qwen3
