#include "models/ideogram4/transformer.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "models/ideogram4/model_sizes.h"

namespace intaglio::ideogram4 {
namespace {

bool has(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

// q, k, v, out, w1, w2, w3 of every layer and the text projection, as the paper says.
TEST(Transformer, QuantizesThePapersLinears) {
  Transformer transformer(transformer_config(), {});
  const std::vector<std::string> names = transformer.quantized_linears();
  EXPECT_EQ(names.size(), 34u * 7 + 1);
  for (const char* name :
       {"layers.0.attention.to_q", "layers.33.attention.to_k", "layers.5.attention.to_v",
        "layers.5.attention.to_out.0", "layers.5.feed_forward.w1", "layers.5.feed_forward.w2",
        "layers.5.feed_forward.w3", "llm_cond_proj"})
    EXPECT_TRUE(has(names, name)) << name;
  for (const char* name : {"input_proj", "adaln_proj", "t_embedding.mlp_in",
                           "layers.0.adaln_modulation", "final_layer.linear"})
    EXPECT_FALSE(has(names, name)) << name;
}

}  // namespace
}  // namespace intaglio::ideogram4
