// An autoencoder in the names of its original files is the same autoencoder.
#include "models/autoencoder/original_names.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <map>

#include "core/cpu_features.h"
#include "io/safetensors.h"
#include "models/autoencoder/decoder.h"
#include "support/source_folder.h"
#include "support/temp_folder.h"
#include "unit/models/autoencoder/decode_case.h"

namespace intaglio::autoencoder {
namespace {

namespace fs = std::filesystem;

const fs::path kVae = test::source_path("tests/reference/flux2_klein/tiny/vae");

// `text` with `to` in place of its begin `from`.
bool replace_begin(std::string& text, std::string_view from, std::string_view to) {
  if (!text.starts_with(from)) return false;
  text.replace(0, from.size(), to);
  return true;
}

// By the table of the original's converter, written out for this autoencoder of four widths.
std::string original_name(std::string name) {
  const std::pair<const char*, const char*> begins[] = {
      {"decoder.mid_block.resnets.0.", "decoder.mid.block_1."},
      {"decoder.mid_block.resnets.1.", "decoder.mid.block_2."},
      {"decoder.mid_block.attentions.0.group_norm.", "decoder.mid.attn_1.norm."},
      {"decoder.mid_block.attentions.0.to_q.", "decoder.mid.attn_1.q."},
      {"decoder.mid_block.attentions.0.to_k.", "decoder.mid.attn_1.k."},
      {"decoder.mid_block.attentions.0.to_v.", "decoder.mid.attn_1.v."},
      {"decoder.mid_block.attentions.0.to_out.0.", "decoder.mid.attn_1.proj_out."},
      {"decoder.up_blocks.0.upsamplers.0.", "decoder.up.3.upsample."},
      {"decoder.up_blocks.1.upsamplers.0.", "decoder.up.2.upsample."},
      {"decoder.up_blocks.2.upsamplers.0.", "decoder.up.1.upsample."},
      {"decoder.up_blocks.0.resnets.", "decoder.up.3.block."},
      {"decoder.up_blocks.1.resnets.", "decoder.up.2.block."},
      {"decoder.up_blocks.2.resnets.", "decoder.up.1.block."},
      {"decoder.up_blocks.3.resnets.", "decoder.up.0.block."},
      {"decoder.conv_norm_out.", "decoder.norm_out."},
      {"post_quant_conv.", "decoder.post_quant_conv."},
      {"quant_conv.", "encoder.quant_conv."},
      {"encoder.mid_block.resnets.0.", "encoder.mid.block_1."},
      {"encoder.mid_block.resnets.1.", "encoder.mid.block_2."},
      {"encoder.mid_block.attentions.0.group_norm.", "encoder.mid.attn_1.norm."},
      {"encoder.mid_block.attentions.0.to_q.", "encoder.mid.attn_1.q."},
      {"encoder.mid_block.attentions.0.to_k.", "encoder.mid.attn_1.k."},
      {"encoder.mid_block.attentions.0.to_v.", "encoder.mid.attn_1.v."},
      {"encoder.mid_block.attentions.0.to_out.0.", "encoder.mid.attn_1.proj_out."},
      {"encoder.down_blocks.0.downsamplers.0.", "encoder.down.0.downsample."},
      {"encoder.down_blocks.1.downsamplers.0.", "encoder.down.1.downsample."},
      {"encoder.down_blocks.2.downsamplers.0.", "encoder.down.2.downsample."},
      {"encoder.down_blocks.0.resnets.", "encoder.down.0.block."},
      {"encoder.down_blocks.1.resnets.", "encoder.down.1.block."},
      {"encoder.down_blocks.2.resnets.", "encoder.down.2.block."},
      {"encoder.down_blocks.3.resnets.", "encoder.down.3.block."},
      {"encoder.conv_norm_out.", "encoder.norm_out."}};
  for (const auto& [from, to] : begins)
    if (replace_begin(name, from, to)) break;
  constexpr std::string_view kShortcut = "conv_shortcut";
  if (const size_t at = name.find(kShortcut); at != std::string::npos)
    name.replace(at, kShortcut.size(), "nin_shortcut");
  return name;
}

std::vector<float> decode(const Expected<Decoder>& vae) {
  EXPECT_TRUE(vae) << vae.error().message;
  if (!vae) return {};
  Context context{.threads = 2, .cpu = host_cpu_features()};
  Arena arena = Arena::with_capacity(vae->scratch_bytes(context, 4, 6)).value();
  context.scratch = &arena;
  std::vector<float> latent, image(3 * 4 * 6 * 64);
  for (int i = 0; i < 4 * 4 * 6; ++i) latent.push_back(static_cast<float>(i % 13) * 0.3f - 2.0f);
  EXPECT_TRUE(vae->decode(context, latent.data(), 4, 6, image.data(), {}));
  return image;
}

std::vector<float> encode(const Expected<Encoder>& vae) {
  EXPECT_TRUE(vae) << vae.error().message;
  if (!vae) return {};
  std::vector<float> image;
  for (int i = 0; i < 3 * 4 * 6 * 64; ++i)
    image.push_back(static_cast<float>(i % 19) * 0.1f - 0.9f);
  return test::encode(*vae, {.threads = 2, .cpu = host_cpu_features()}, image, 4, 6);
}

TEST(OriginalNames, MeanTheSameAutoencoder) {
  const auto file = SafetensorsFile::open(kVae / "diffusion_pytorch_model.safetensors").value();
  std::vector<TensorEntry> entries;
  std::vector<std::vector<float>> values;
  int renamed = 0;
  for (const TensorEntry& entry : file->tensors()) {
    if (!is_float(entry.view.dtype)) continue;
    values.push_back(read_floats(entry).value());
    Shape shape = entry.view.shape;
    // Linears are convolutions of one pixel there.
    if (entry.name.find(".attentions.0.to_") != std::string::npos && shape.rank == 2)
      shape = {shape[0], shape[1], 1, 1};
    entries.push_back({original_name(entry.name), {values.back().data(), DType::kF32, shape}});
    if (entries.back().name != entry.name) ++renamed;
  }
  EXPECT_GT(renamed, 120);
  const TempFolder folder;
  ASSERT_TRUE(write_safetensors(folder / "ae.safetensors", entries));
  const Context context{.threads = 2, .cpu = host_cpu_features()};
  const auto published = Decoder::load(context, PartFiles::in(kVae), DType::kF32);
  const auto original = Decoder::load(
      context, PartFiles{kVae / "config.json", folder / "ae.safetensors"}, DType::kF32);
  EXPECT_EQ(decode(original), decode(published));
  EXPECT_EQ(encode(Encoder::load(
                context, PartFiles{kVae / "config.json", folder / "ae.safetensors"}, DType::kF32)),
            encode(Encoder::load(context, PartFiles::in(kVae), DType::kF32)));

  entries.push_back({"decoder.up.4.upsample.conv.bias", {values[0].data(), DType::kF32, {1}}});
  ASSERT_TRUE(write_safetensors(folder / "more.safetensors", entries));
  const auto more = Decoder::load(
      context, PartFiles{kVae / "config.json", folder / "more.safetensors"}, DType::kF32);
  ASSERT_FALSE(more);
  EXPECT_THAT(more.error().message, ::testing::HasSubstr("block_out_channels"));
}

}  // namespace
}  // namespace intaglio::autoencoder
