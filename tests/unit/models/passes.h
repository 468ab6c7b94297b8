// What tests of transformers share that read features as they are: made-up values, and passes.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <random>
#include <utility>
#include <vector>

#include "core/memory.h"
#include "io/checkpoint.h"
#include "models/transformer.h"

namespace intaglio::test {

inline std::vector<float> random_values(int64_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = normal(random);
  return values;
}

// A model's transformer of the config that `read_config` gives, from a checkpoint.
template <typename AnyTransformer, auto read_config>
struct Passes {
  explicit Passes(const std::filesystem::path& weights,
                  LayerSelection selection = {.precision = Precision::kFp32},
                  std::vector<AdapterUse> adapters = {}, int64_t unread = 0)
      : transformer(read_config(),
                    {.selection = std::move(selection), .adapters = std::move(adapters)}, unread) {
    const auto source = transformer.open_source(Checkpoint::open(weights).value());
    EXPECT_TRUE(source) << source.error().message;
    if (!source) return;
    const Status loaded = transformer.load(context, **source);
    EXPECT_TRUE(loaded) << loaded.error().message;
  }

  // At step 1 of `times`, or their only one. `features` [tokens, text_dim], rows of those that are
  // read first. What was planned is taken.
  std::vector<float> velocity(const std::vector<float>& features,
                              const std::vector<float>& times = {1.0f, 0.75f, 0.5f}) {
    const auto tokens = static_cast<int64_t>(features.size()) / transformer.text_dim();
    const auto steps = static_cast<int64_t>(times.size());
    const PassSize size{.text_tokens = tokens, .grid_h = 3, .grid_w = 5};
    Arena arena(allocate(context, transformer.scratch_bytes(context, size, steps)).value());
    context.scratch = &arena;
    const std::vector<float> latents = random_values(15 * transformer.channels(), 9);
    std::vector<float> velocity(latents.size());
    const TextInput text{.tokens = tokens, .features = features.data()};
    EXPECT_TRUE(transformer.prepare(context, text, 3, 5, times, session));
    text_rows = transformer.text_rows(context, session).value();
    EXPECT_TRUE(transformer.select_step(context, session, steps > 1 ? 1 : 0));
    EXPECT_TRUE(transformer.forward(context, session, latents.data(), velocity.data()));
    EXPECT_EQ(arena.used(), 0u);
    EXPECT_EQ(arena.peak(), arena.capacity()) << "the plan is not exact";
    return velocity;
  }

  Context context{.threads = 2, .cpu = host_cpu_features()};
  AnyTransformer transformer;
  TransformerSession session;
  std::vector<float> text_rows;  // of the last velocity
};

}  // namespace intaglio::test
