#include "models/parts/linear_shapes.h"

#include <gtest/gtest.h>

#include <set>
#include <sstream>

#include "core/files.h"
#include "models/registry.h"
#include "ops/cuda/tuning/s8_gemm_names.h"
#include "support/source_folder.h"

namespace intaglio {
namespace {

std::vector<ListedLinear> linears_of(std::string_view name) {
  if (const auto model = synthetic_model(name))
    return (*model)->transformer(0, {})->listed_linears();
  const auto config = JsonConfig::parse(*public_transformer_config(name), std::string(name));
  return transformer_linears(*config).value();
}

std::vector<std::string> tuned_models() {
  std::vector<std::string> names = public_transformer_names();
  for (const char* name :
       {"ideogram4", "z-image", "flux2-klein-4b", "flux2-klein-9b", "krea2-raw", "qwen-image"})
    names.emplace_back(name);
  return names;
}

// "name m n k fusion" of a linear at 4096 image and 512 text tokens.
std::string line_of(const ListedLinear& l) {
  const int64_t m = l.rows == LinearRows::kSequence ? 4608
                    : l.rows == LinearRows::kImage  ? 4096
                                                    : 512;
  const std::string fused =
      l.epilogue == GemmEpilogue::kNone ? "" : fmt::format(" {}", epilogue_name(l.epilogue));
  return fmt::format("{} {} {} {}{}", l.name, m, l.n, l.k, fused);
}

// The files that benchmarks read are those of the models' configs.
TEST(LinearShapes, FilesOfShapesAreTheModels) {
  for (const std::string& name : tuned_models()) {
    const auto text = read_file(test::source_path("bench/shapes/") + name + ".txt");
    ASSERT_TRUE(text) << text.error().message;
    std::vector<std::string> stored;
    std::istringstream lines(*text);
    for (std::string line; std::getline(lines, line);) {
      if (line.starts_with("#")) continue;
      std::istringstream words(line);
      std::string joined;
      for (std::string word; words >> word;) joined += (joined.empty() ? "" : " ") + word;
      stored.push_back(joined);
    }
    std::vector<std::string> expected;
    for (const ListedLinear& linear : linears_of(name)) expected.push_back(line_of(linear));
    EXPECT_EQ(stored, expected) << name;
  }
}

// The parameters that these linears hold are those of the published models, up to what is left out.
TEST(LinearShapes, ParametersAddUp) {
  const auto weights = [](const std::vector<ListedLinear>& all, const std::string& prefix) {
    double sum = 0;
    for (const ListedLinear& l : all) {
      if (l.name.starts_with(prefix) && l.name != "text_in")
        sum += static_cast<double>(l.n) * static_cast<double>(l.k);
    }
    return sum * 1e-9;
  };
  EXPECT_NEAR(34 * weights(linears_of("ideogram4"), ""), 8.66, 0.01);  // of 9.28 G
  const std::vector<ListedLinear> flux = linears_of("flux2");
  EXPECT_NEAR(8 * weights(flux, "double.") + 48 * weights(flux, "single."), 31.4, 0.1);  // of 32 G
  EXPECT_NEAR(30 * weights(linears_of("z-image"), "") / 3, 5.31, 0.1);                   // of 6.2 G
  const auto klein = [&](const char* name, int doubles, int singles) {
    const std::vector<ListedLinear> all = linears_of(name);
    return doubles * (weights(all, "") - weights(all, "single.")) +
           singles * weights(all, "single.");
  };
  EXPECT_NEAR(klein("flux2-klein-4b", 5, 20), 3.68, 0.01);  // of 3.88 G
  EXPECT_NEAR(klein("flux2-klein-9b", 8, 24), 8.72, 0.01);  // of 9.08 G
  const std::vector<ListedLinear> krea = linears_of("krea2-raw");
  EXPECT_NEAR(28 * (weights(krea, "") - weights(krea, "text_")) + 4 * weights(krea, "text_"), 12.50,
              0.1);  // of 12.8 G
  EXPECT_NEAR(60 * weights(linears_of("qwen-image"), ""), 13.6,
              0.1);  // of 20.4 G: the rest is modulation
}

TEST(LinearShapes, EveryPromptLengthFindsItsBucket) {
  const std::vector<NamedShape> shapes =
      bucketed_shapes(linears_of("ideogram4"), {4096, 1, 2048, true});
  std::set<int64_t> rows, text_rows;
  for (const NamedShape& s : shapes) (s.name == "text_in" ? text_rows : rows).insert(s.shape.m);
  EXPECT_EQ(rows, (std::set<int64_t>{4096, 4608, 5120, 5632, 6144}));
  EXPECT_EQ(text_rows.size(), 7u + 8 + 8);
  EXPECT_EQ(shapes.size(), 4 * rows.size() + text_rows.size());
}

// Z-Image's refiners have the layers' sizes: the same product is listed once.
TEST(LinearShapes, NoShapeTwice) {
  const std::vector<NamedShape> shapes =
      bucketed_shapes(linears_of("z-image"), {4096, 512, 512, true});
  std::set<std::string> seen;
  for (const NamedShape& s : shapes) EXPECT_TRUE(seen.insert(describe(s.shape)).second);
  EXPECT_EQ(shapes.size(), 4u * 3);
}

TEST(LinearShapes, BadConfigsAreNamed) {
  const auto message = [](const char* text) {
    const auto linears = transformer_linears(*JsonConfig::parse(text, "c.json"));
    return linears ? std::string("good") : linears.error().message;
  };
  EXPECT_NE(message("{}").find("_class_name"), std::string::npos);
  EXPECT_NE(message(R"({"_class_name": "FluxTransformer2DModel"})").find("FluxTransformer2DModel"),
            std::string::npos);
  EXPECT_NE(message(R"({"_class_name": "Flux2Transformer2DModel", "num_attention_heads": 48,
      "attention_head_dim": 128, "joint_attention_dim": 15360, "mlp_ratio": 1e9})")
                .find("mlp_ratio"),
            std::string::npos);
  EXPECT_FALSE(public_transformer_config("nothing"));
}

}  // namespace
}  // namespace intaglio
