// Files of other programs: the original names, adapters in all of them, what `quantize` writes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>

#include "core/relative_error.h"
#include "models/checkpoint_quantizer.h"
#include "support/temp_folder.h"
#include "unit/models/flux2_klein/tiny_transformer.h"
#include "verify/tolerances.h"

namespace intaglio::flux2_klein {
namespace {

using ::testing::HasSubstr;

struct Numbers {
  Shape shape;
  std::vector<float> values;
};
using Tensors = std::map<std::string, Numbers>;

Tensors published() {
  Tensors tensors;
  const auto file = SafetensorsFile::open(tiny_weights()).value();
  for (const TensorEntry& entry : file->tensors())
    tensors[entry.name] = {entry.view.shape, read_floats(entry).value()};
  return tensors;
}

void write(const std::filesystem::path& path, const Tensors& tensors) {
  std::vector<TensorEntry> entries;
  for (const auto& [name, tensor] : tensors)
    entries.push_back(
        {name, {const_cast<float*>(tensor.values.data()), DType::kF32, tensor.shape}});
  ASSERT_TRUE(write_safetensors(path, entries));
}

// Rows of all of `names`, one after the other.
Numbers stacked(const Tensors& tensors, const std::vector<std::string>& names) {
  Numbers all;
  for (const std::string& name : names) {
    const Numbers& one = tensors.at(name + ".weight");
    all.values.insert(all.values.end(), one.values.begin(), one.values.end());
    all.shape = {all.shape.rank == 0 ? one.shape[0] : all.shape[0] + one.shape[0], one.shape[1]};
  }
  return all;
}

Numbers with_swapped_halves(Numbers matrix) {
  std::rotate(matrix.values.begin(),
              matrix.values.begin() + static_cast<ptrdiff_t>(matrix.values.size() / 2),
              matrix.values.end());
  return matrix;
}

// The published tensors as the original files have them.
Tensors original(const Tensors& t) {
  Tensors o;
  const auto rename = [&](const std::string& to, const std::string& from) {
    o[to] = t.at(from + ".weight");
  };
  rename("img_in.weight", "x_embedder");
  rename("txt_in.weight", "context_embedder");
  rename("final_layer.linear.weight", "proj_out");
  for (const char* const n : {"1", "2"})
    rename(std::string("time_in.") + (*n == '1' ? "in" : "out") + "_layer.weight",
           std::string("time_guidance_embed.timestep_embedder.linear_") + n);
  for (const char* const n :
       {"double_stream_modulation_img", "double_stream_modulation_txt", "single_stream_modulation"})
    rename(std::string(n) + ".lin.weight", std::string(n) + ".linear");
  o["final_layer.adaLN_modulation.1.weight"] = with_swapped_halves(t.at("norm_out.linear.weight"));
  for (const char* const i : {"0", "1"}) {
    const std::string from = std::string("transformer_blocks.") + i + ".";
    const std::string to = std::string("double_blocks.") + i + ".";
    o[to + "img_attn.qkv.weight"] =
        stacked(t, {from + "attn.to_q", from + "attn.to_k", from + "attn.to_v"});
    o[to + "txt_attn.qkv.weight"] =
        stacked(t, {from + "attn.add_q_proj", from + "attn.add_k_proj", from + "attn.add_v_proj"});
    rename(to + "img_attn.proj.weight", from + "attn.to_out.0");
    rename(to + "txt_attn.proj.weight", from + "attn.to_add_out");
    rename(to + "img_attn.norm.query_norm.scale", from + "attn.norm_q");
    rename(to + "img_attn.norm.key_norm.scale", from + "attn.norm_k");
    rename(to + "txt_attn.norm.query_norm.scale", from + "attn.norm_added_q");
    rename(to + "txt_attn.norm.key_norm.scale", from + "attn.norm_added_k");
    rename(to + "img_mlp.0.weight", from + "ff.linear_in");
    rename(to + "img_mlp.2.weight", from + "ff.linear_out");
    rename(to + "txt_mlp.0.weight", from + "ff_context.linear_in");
    rename(to + "txt_mlp.2.weight", from + "ff_context.linear_out");
  }
  for (const char* const i : {"0", "1", "2"}) {
    const std::string from = std::string("single_transformer_blocks.") + i + ".attn.";
    const std::string to = std::string("single_blocks.") + i + ".";
    rename(to + "linear1.weight", from + "to_qkv_mlp_proj");
    rename(to + "linear2.weight", from + "to_out");
    rename(to + "norm.query_norm.scale", from + "norm_q");
    rename(to + "norm.key_norm.scale", from + "norm_k");
  }
  return o;
}

Tensors prefixed(const Tensors& tensors, const std::string& prefix) {
  Tensors result;
  for (const auto& [name, tensor] : tensors) result[prefix + name] = tensor;
  return result;
}

std::vector<float> velocity_of(const std::filesystem::path& weights, Precision precision,
                               std::vector<AdapterUse> adapters = {}) {
  return TinyTransformer(weights,
                         {.selection = {.precision = precision}, .adapters = std::move(adapters)})
      .velocity();
}

TEST(Flux2KleinNames, OriginalFilesAreTheSameModel) {
  const TempFolder folder;
  const Tensors originals = original(published());
  ASSERT_EQ(originals.size(), 8u + 1 + 2 * 12 + 3 * 4);
  write(folder / "original.safetensors", originals);
  write(folder / "comfy.safetensors", prefixed(originals, "model.diffusion_model."));
  for (const Precision precision : {Precision::kFp32, Precision::kInt8}) {
    const std::vector<float> expected = velocity_of(tiny_weights(), precision);
    EXPECT_EQ(velocity_of(folder / "original.safetensors", precision), expected);
    EXPECT_EQ(velocity_of(folder / "comfy.safetensors", precision), expected);
  }
}

// In both kinds of names.
TEST(Flux2KleinNames, OfALayerTooManyOrATensorTooFewAreTold) {
  const auto problem = [](const Tensors& tensors) {
    const TempFolder folder;
    write(folder / "w.safetensors", tensors);
    const auto source =
        Transformer(tiny_config(), {}).open_source(*Checkpoint::open(folder / "w.safetensors"));
    return source ? std::string() : source.error().message;
  };
  for (const bool is_original : {false, true}) {
    const Tensors good = is_original ? original(published()) : published();
    EXPECT_EQ(problem(good), "");
    for (const std::string& stack :
         is_original
             ? std::vector<std::string>{"double_blocks.2.x.weight", "single_blocks.3.x.weight"}
             : std::vector<std::string>{"transformer_blocks.2.x.weight",
                                        "single_transformer_blocks.3.x.weight"}) {
      Tensors more = good;
      more[stack] = {{1}, {1.0f}};
      EXPECT_THAT(problem(more), HasSubstr("layers")) << stack;
    }
  }
  Tensors less = published();
  less.erase("transformer_blocks.1.ff.linear_in.weight");
  const std::string message = problem(less);
  EXPECT_THAT(message, HasSubstr("1 tensor not as the model needs"));
  EXPECT_THAT(message,
              HasSubstr("transformer_blocks.1.ff.linear_in.weight: missing, expected [288, 48]"));
}

// Of several modules, in the names of diffusers and PEFT, of the original files and of kohya's
// scripts: the same change.
TEST(Flux2KleinNames, AdaptersOfEveryNaming) {
  constexpr int64_t kRank = 3, kWidth = 48;
  std::mt19937 random(3);
  std::normal_distribution<float> normal(0.0f, 0.1f);
  const auto matrix = [&](int64_t n, int64_t k) {
    Numbers numbers{{n, k}, std::vector<float>(static_cast<size_t>(n * k))};
    for (float& value : numbers.values) value = normal(random);
    return numbers;
  };
  struct Module {
    const char *published, *stored;
    int64_t n, k;
    bool swaps = false;
  };
  Tensors peft, bfl, kohya;
  for (const Module& m :
       {Module{"single_transformer_blocks.1.attn.to_qkv_mlp_proj", "single_blocks.1.linear1", 432,
               kWidth},
        Module{"single_transformer_blocks.0.attn.to_out", "single_blocks.0.linear2", kWidth, 192},
        Module{"transformer_blocks.1.ff.linear_in", "double_blocks.1.img_mlp.0", 288, kWidth},
        Module{"transformer_blocks.0.ff_context.linear_out", "double_blocks.0.txt_mlp.2", kWidth,
               144},
        Module{"transformer_blocks.0.attn.to_add_out", "double_blocks.0.txt_attn.proj", kWidth,
               kWidth},
        Module{"norm_out.linear", "final_layer.adaLN_modulation.1", 96, kWidth, true}}) {
    const Numbers down = matrix(kRank, m.k), up = matrix(m.n, kRank);
    const Numbers stored_up = m.swaps ? with_swapped_halves(up) : up;
    const std::string name = m.published, stored = m.stored;
    peft["transformer." + name + ".lora_A.weight"] = down;
    peft["transformer." + name + ".lora_B.weight"] = up;
    bfl["diffusion_model." + stored + ".lora_A.weight"] = down;
    bfl["diffusion_model." + stored + ".lora_B.weight"] = stored_up;
    std::string flat = "lora_unet_" + stored;
    std::replace(flat.begin(), flat.end(), '.', '_');
    kohya[flat + ".lora_down.weight"] = down;
    kohya[flat + ".lora_up.weight"] = stored_up;
  }
  // A fused qkv, beside its thirds.
  const Numbers down = matrix(kRank, kWidth), up = matrix(3 * kWidth, kRank);
  int64_t row = 0;
  for (const char* const part : {"to_q", "to_k", "to_v"}) {
    const std::string name = std::string("transformer.transformer_blocks.1.attn.") + part;
    Numbers third{{kWidth, kRank}, {}};
    const auto first = up.values.begin() + row * kRank;
    third.values.assign(first, first + kWidth * kRank);
    row += kWidth;
    peft[name + ".lora_A.weight"] = down;
    peft[name + ".lora_B.weight"] = third;
  }
  bfl["diffusion_model.double_blocks.1.img_attn.qkv.lora_A.weight"] = down;
  bfl["diffusion_model.double_blocks.1.img_attn.qkv.lora_B.weight"] = up;
  kohya["lora_unet_double_blocks_1_img_attn_qkv.lora_down.weight"] = down;
  kohya["lora_unet_double_blocks_1_img_attn_qkv.lora_up.weight"] = up;

  const TempFolder folder;
  for (const Precision precision : {Precision::kFp32, Precision::kInt8}) {
    const std::vector<float> plain = velocity_of(tiny_weights(), precision);
    std::vector<float> first;
    for (const auto& [name, tensors] : {std::pair{"peft", peft}, {"bfl", bfl}, {"kohya", kohya}}) {
      SCOPED_TRACE(name);
      const std::filesystem::path path = folder / (std::string(name) + ".safetensors");
      write(path, tensors);
      const auto file = AdapterFile::open(path);
      ASSERT_TRUE(file) << file.error().message;
      const std::vector<AdapterUse> uses{{*file, 0.5f}};
      Transformer transformer(tiny_config(), {.selection = {}, .adapters = uses});
      const auto matched = transformer.match_adapters();
      ASSERT_TRUE(matched) << matched.error().message;
      EXPECT_EQ(matched->size(), tensors.size());
      const std::vector<float> changed = velocity_of(tiny_weights(), precision, uses);
      EXPECT_GT(relative_error(changed, plain), 1e-3);
      if (first.empty()) first = changed;
      // A third's branch of its own sums in another order than a fused one.
      EXPECT_LE(relative_error(changed, first), precision == Precision::kFp32 ? 1e-6 : 2e-2);
    }
  }
}

// What `quantize` makes of the file `from`: a folder with the weights, and a config where the
// layout has one.
std::filesystem::path quantized(const std::filesystem::path& from, const QuantizeOptions& options,
                                const TempFolder& folder) {
  const std::filesystem::path to = folder / "quantized";
  std::filesystem::remove_all(to);
  std::filesystem::create_directories(to);
  const auto quantizer = CheckpointQuantizer::plan(*Checkpoint::open(from), options);
  EXPECT_TRUE(quantizer) << quantizer.error().message;
  if (!quantizer) return to;
  const auto report =
      quantizer->write({.threads = 2, .cpu = host_cpu_features()},
                       to / "diffusion_pytorch_model.safetensors", [](int64_t, int64_t) {});
  EXPECT_TRUE(report) << report.error().message;
  if (!report) return to;
  EXPECT_EQ(report->quantized, options.layout == CheckpointLayout::kComfy ? 22 : 30);
  EXPECT_EQ(report->turned, options.scheme == QuantizeScheme::kConvRot ? report->quantized : 0);
  if (const std::string config = quantizer->quantization_config(); !config.empty())
    folder.write("quantized/config.json", R"({"quantization_config": )" + config + "}");
  return to;
}

// The names of either kind from either kind. Turned in groups of 16, which divide every linear's
// columns.
TEST(Flux2KleinNames, QuantizedFilesOfEveryLayout) {
  const TempFolder folder;
  write(folder / "original.safetensors", original(published()));
  for (const std::filesystem::path& from :
       {tiny_weights(), std::filesystem::path(folder / "original.safetensors")}) {
    for (const CheckpointLayout layout : {CheckpointLayout::kComfy, CheckpointLayout::kDiffusers}) {
      const bool comfy = layout == CheckpointLayout::kComfy;
      SCOPED_TRACE(from.filename().string() + (comfy ? " to ComfyUI" : " to diffusers"));
      const auto rows = quantized(from, {.scheme = QuantizeScheme::kRow, .layout = layout}, folder);
      const auto file = Checkpoint::open(rows).value();
      for (const char* const name :
           {"transformer_blocks.0.ff.linear_in.weight",
            "single_transformer_blocks.2.attn.norm_q.weight", "norm_out.linear.weight"})
        EXPECT_EQ(file->find(name) != nullptr, !comfy) << name;
      for (const char* const name :
           {"double_blocks.0.img_mlp.0.weight", "single_blocks.2.norm.query_norm.scale",
            "final_layer.adaLN_modulation.1.weight"})
        EXPECT_EQ(file->find(name) != nullptr, comfy) << name;
      // Both round the weights as the files' own programs do, by way of bf16.
      const auto turned = [&] { return quantized(from, {.layout = layout}, folder); };
      const double tolerance = tolerances_for(Precision::kInt8).velocity;
      const std::vector<float> expected = TinyCase().velocity;
      EXPECT_LE(relative_error(velocity_of(rows, Precision::kInt8), expected), tolerance);
      EXPECT_LE(relative_error(velocity_of(turned(), Precision::kInt8), expected), tolerance);
    }
  }
}

}  // namespace
}  // namespace intaglio::flux2_klein
