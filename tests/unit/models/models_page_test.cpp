// The sizes in docs/models.md are made here, from the models themselves, so that no figure of them
// is typed:
//   INTAGLIO_WRITE_DOCS=1 build/test/bin/intaglio_tests --gtest_filter='ModelsPage.*'
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <string>

#include "advice/cost_model.h"
#include "core/files.h"
#include "models/registry.h"
#include "support/source_folder.h"

namespace intaglio {
namespace {

struct PageModel {
  const char *name, *sizes;
};

constexpr PageModel kModels[] = {{"Ideogram 4", "ideogram4"},
                                 {"Z-Image", "z-image"},
                                 {"FLUX.2 klein 4B", "flux2-klein-4b"},
                                 {"FLUX.2 klein 9B", "flux2-klein-9b"},
                                 {"Krea 2", "krea2-raw"},
                                 {"Qwen-Image", "qwen-image"}};

uint64_t bytes_of(const ModelWeights& weights) {
  uint64_t once = 0;
  for (const uint64_t bytes : weights.once_bytes) once += bytes;
  return weights.fixed_bytes + weights.all_layers() + once;
}

std::string gigabytes(uint64_t bytes) {
  return fmt::format("{:.1f}", 1e-9 * static_cast<double>(bytes));
}

const CardRates& rtx_3090() {
  return *std::find_if(known_cards().begin(), known_cards().end(), [](const CardRates& card) {
    return card.name.find("3090") != std::string_view::npos;
  });
}

std::string modelled(Transformer& transformer, Precision precision) {
  const auto pass = modelled_pass(rtx_3090(),
                                  {.width = transformer.width(),
                                   .linears = transformer.listed_linears(),
                                   .text_tokens = 512,
                                   .image_tokens = 4096},
                                  precision);
  return fmt::format("{:.0f} ms", pass->total_ms());
}

std::string row_of(const PageModel& model) {
  const auto opened = synthetic_model(model.sizes).value();
  double parameters = 0.0;
  std::string row = fmt::format("| {} | `{}` |", model.name, model.sizes);
  std::string bytes;
  for (const Precision precision : {Precision::kBf16, Precision::kInt8, Precision::kNf4}) {
    uint64_t sum = 0;
    for (int which = 0; which < opened->transformers(); ++which)
      sum += bytes_of(
          opened->transformer(which, {.selection = {.precision = precision}})->module_weights());
    bytes += fmt::format(" {} |", gigabytes(sum));
  }
  for (const auto& [name, shape] : opened->transformer(0, {})->tensor_shapes())
    parameters += static_cast<double>(shape.count());
  const uint64_t text =
      bytes_of(qwen3::text_encoder_weights(opened->text_config(), {.precision = Precision::kBf16}));
  const uint64_t vae = autoencoder::decoder_weight_bytes(opened->vae_config(), DType::kBF16);
  const auto transformer = opened->transformer(0, {});
  return row + fmt::format(" {:.2f} G{} |{} {} | {} | {} | {} |\n", 1e-9 * parameters,
                           opened->transformers() > 1 ? " each of 2" : "", bytes, gigabytes(text),
                           gigabytes(vae), modelled(*transformer, Precision::kBf16),
                           modelled(*transformer, Precision::kInt8));
}

std::string size_table() {
  std::string table =
      "| model | `--model synthetic:` | parameters | bf16 | int8 | nf4 | text encoder | VAE | pass "
      "at bf16 | at int8 |\n"
      "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n";
  for (const PageModel& model : kModels) table += row_of(model);
  return table;
}

TEST(ModelsPage, SizesAreThoseOfTheModels) {
  constexpr std::string_view kBegin = "<!-- sizes -->\n", kEnd = "<!-- end of sizes -->";
  const std::string path = test::source_path("docs/models.md");
  std::string page = read_file(path).value();
  const size_t begin = page.find(kBegin), end = page.find(kEnd);
  ASSERT_NE(begin, std::string::npos);
  ASSERT_NE(end, std::string::npos);
  const size_t first = begin + kBegin.size();
  const std::string table = size_table();
  if (std::getenv("INTAGLIO_WRITE_DOCS") != nullptr) {
    page.replace(first, end - first, table);
    ASSERT_TRUE(write_file_atomic(path, page));
    return;
  }
  EXPECT_EQ(page.substr(first, end - first), table)
      << "run with INTAGLIO_WRITE_DOCS=1 to write it anew";
}

}  // namespace
}  // namespace intaglio
