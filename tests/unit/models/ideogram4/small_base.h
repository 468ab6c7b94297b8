// The small model whose checkpoints tests/formats holds in every form, and the pass whose velocity
// its folders' expected.safetensors have (note.json).
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "io/safetensors.h"
#include "models/ideogram4/config.h"
#include "models/ideogram4/transformer.h"
#include "support/operands.h"
#include "unit/io/formats/format_files.h"

namespace intaglio::ideogram4 {

inline constexpr PassSize kSmallPass{.text_tokens = 5, .grid_h = 4, .grid_w = 6};

inline TransformerConfig small_config() {
  return parse_transformer_config(
             *JsonConfig::open(test::source_path("tests/formats/base/reference/config.json")))
      .value();
}

// The velocity that a loaded transformer makes of "model/latents" and so on in `inputs`.
inline std::vector<float> small_velocity(const Context& context, const Transformer& transformer,
                                         const SafetensorsFile& inputs) {
  const auto read = [&](const std::string& name) {
    return read_floats(*inputs.find("model/" + name)).value();
  };
  std::vector<float> text = read("text_features"), latents = read("latents");
  const std::vector<float> time = read("timestep");
  std::vector<float> velocity(latents.size());
  test::Operands on(context);
  TransformerSession session;
  const Status prepared = transformer.prepare(
      context, {.tokens = kSmallPass.text_tokens, .features = on.in(text.data(), text.size())},
      kSmallPass.grid_h, kSmallPass.grid_w, time, session);
  EXPECT_TRUE(prepared) << prepared.error().message;
  EXPECT_TRUE(transformer.select_step(context, session, 0));
  const Status status = transformer.forward(context, session, on.in(latents.data(), latents.size()),
                                            on.out(velocity.data(), velocity.size()));
  EXPECT_TRUE(status) << status.error().message;
  on.fetch();
  return velocity;
}

}  // namespace intaglio::ideogram4
