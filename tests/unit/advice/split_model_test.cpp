#include "advice/split_model.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "advice/choose_parallel.h"
#include "models/parts/row_split.h"
#include "models/registry.h"

namespace intaglio {
namespace {

constexpr SharedHeads kHeads{.keys = 18};  // of Ideogram 4

CardRates card(const char* name) {
  CudaDevice gpu;
  gpu.name = name;
  return card_rates(gpu);
}

SharedStep step_of(int64_t image_tokens, double other = 1.0) {
  static const std::shared_ptr<const Model> model = synthetic_model("ideogram4").value();
  SharedStep step{.first = {},
                  .other = {},
                  .passes = {.text_tokens = 512,
                             .image_tokens = image_tokens,
                             .first = 1.0,
                             .other = other,
                             .both = other},
                  .heads = kHeads,
                  .values = image_tokens * model->info().latent_channels};
  step.first = pass_shape(*model, step.passes, true);
  step.other = pass_shape(*model, step.passes, false);
  return step;
}

double way_ms(const std::vector<WayOfStep>& ways, const std::string& name) {
  for (const WayOfStep& way : ways)
    if (way.name() == name) return way.step_ms;
  ADD_FAILURE() << name;
  return 0.0;
}

// Layer by layer: each rank computes its own rows and heads, then all meet and each sends every
// other what it has for it, one after the other over its own way out, while it receives.
double simulated_ms(const CardRates& rates, const LinkRates& link, const PassShape& shape,
                    const SharedHeads& heads, int ranks, int layers) {
  const int64_t rows = shape.text_tokens + shape.image_tokens;
  const ModelledPass whole = modelled_pass(rates, shape, Precision::kInt8).value();
  const auto share = [&](int64_t count, int rank) {
    return static_cast<double>(part_of(count, {rank, ranks}).count) / static_cast<double>(count);
  };
  double now = 0.0;
  for (int layer = 0; layer < layers; ++layer) {
    double longest = 0.0;
    for (int rank = 0; rank < ranks; ++rank)
      longest =
          std::max(longest, (whole.linears_ms + whole.passes_ms) * share(rows, rank) / layers);
    now += longest;
    // q, k, v out; rows of the output back. Of width `shape.width`: 1 byte and 2 + 2 of each group
    // of heads, then 2.
    const double out_bytes = 1.0 + 4.0 / static_cast<double>(heads.group);
    for (const bool back : {false, true}) {
      double slowest = 0.0;
      for (int from = 0; from < ranks; ++from) {
        double sent = 0.0, received = 0.0;
        for (int to = 0; to < ranks; ++to) {
          if (to == from) continue;
          const double width = static_cast<double>(shape.width * rows);
          const double out = back ? 2.0 * share(rows, to) * share(heads.keys, from)
                                  : out_bytes * share(rows, from) * share(heads.keys, to);
          const double in = back ? 2.0 * share(rows, from) * share(heads.keys, to)
                                 : out_bytes * share(rows, to) * share(heads.keys, from);
          sent += width * out * 1e-6 / link.gb_s;
          received += width * in * 1e-6 / link.gb_s;
        }
        slowest = std::max({slowest, sent, received});
      }
      now += slowest + link.meeting_ms;
      if (back) continue;
      double attention = 0.0;
      for (int rank = 0; rank < ranks; ++rank)
        attention = std::max(attention, whole.attention_ms * share(heads.keys, rank) / layers);
      now += attention;
    }
  }
  return now;
}

TEST(SplitModel, IsWhatASimulatedLinkTakes) {
  constexpr int kLayers = 34;
  for (const char* name : {"H100 80GB HBM3", "RTX 3090", "RTX 4090"}) {
    const CardRates rates = card(name);
    for (const bool direct : {true, false}) {
      const LinkRates link = link_rates(rates, direct);
      for (const int64_t tokens : {1024, 4096, 16384}) {
        const PassShape shape = step_of(tokens).first;
        for (const SharedHeads& heads : {kHeads, SharedHeads{.keys = 12, .group = 4}}) {
          for (const int ranks : {2, 3, 4, 8}) {
            const auto split = modelled_split(rates, link, shape, heads, Precision::kInt8, ranks);
            ASSERT_TRUE(split);
            const double simulated = simulated_ms(rates, link, shape, heads, ranks, kLayers);
            EXPECT_NEAR(split->total_ms() / simulated, 1.0, 0.01)
                << name << direct << tokens << ranks;
          }
        }
      }
    }
  }
}

TEST(SplitModel, OneRankIsTheWholePass) {
  const CardRates rates = card("RTX 3090");
  const PassShape shape = step_of(4096).first;
  const auto one =
      modelled_split(rates, link_rates(rates, false), shape, kHeads, Precision::kInt8, 1);
  ASSERT_TRUE(one);
  EXPECT_DOUBLE_EQ(one->total_ms(), modelled_pass(rates, shape, Precision::kInt8)->total_ms());
  EXPECT_EQ(one->exchange_ms, 0.0);
  EXPECT_FALSE(
      modelled_split(rates, link_rates(rates, false), shape, {.keys = 3}, Precision::kInt8, 4));
  EXPECT_FALSE(modelled_split(rates, link_rates(rates, false), shape, kHeads, Precision::kFp8, 2));
}

// Every row and layer gives away (N - 1) / N of 7 bytes a column: 34 layers, 4608 rows on two
// cards, over 25 GB/s of one bus and then the other.
TEST(SplitModel, BytesOnTheWireAreThoseThatAreSent) {
  const CardRates rates = card("RTX 4090");
  const PassShape shape = step_of(4096).first;
  const auto two =
      modelled_split(rates, link_rates(rates, false), shape, kHeads, Precision::kInt8, 2);
  const double bytes = 34.0 * 2304 * static_cast<double>(shape.width) * 7.0 / 2.0;
  EXPECT_NEAR(two->exchange_ms, 1e-6 * bytes / 12.5 + 34 * 2 * 0.03, 1e-6);
  const auto bf16 =
      modelled_split(rates, link_rates(rates, false), shape, kHeads, Precision::kBf16, 2);
  EXPECT_NEAR((bf16->exchange_ms - 34 * 2 * 0.03) / (two->exchange_ms - 34 * 2 * 0.03), 8.0 / 7.0,
              1e-9);
}

// k and v are as wide as the key heads, of which Krea 2 has one for four query heads.
TEST(SplitModel, GroupedKeyHeadsAreFewerBytes) {
  EXPECT_EQ(synthetic_model("krea2-turbo").value()->transformer(0, {})->query_group({}), 4);
  EXPECT_EQ(synthetic_model("ideogram4").value()->transformer(0, {})->query_group({}), 1);
  const CardRates rates = card("RTX 4090");
  const LinkRates link = link_rates(rates, false);
  const PassShape shape = step_of(4096).first;
  const auto exchange_ms = [&](const SharedHeads& heads) {
    return modelled_split(rates, link, shape, heads, Precision::kInt8, 2)->exchange_ms -
           34 * 2 * 0.03;
  };
  EXPECT_NEAR(exchange_ms({.keys = 12, .group = 4}) / exchange_ms({.keys = 12}), 4.0 / 7.0, 1e-9);
}

// Guided steps of two cards without NVLink take a pass each; on three with it rows are shared, as
// there are no halves; on four each pass is shared by two; a step of one pass has nothing for a
// second card but rows.
TEST(SplitModel, TheFastestWayIsFirst) {
  const CardRates gaming = card("RTX 4090"), server = card("H100 80GB HBM3");
  const auto apart =
      ways_of_step(gaming, link_rates(gaming, false), step_of(4096), Precision::kInt8, 2);
  ASSERT_EQ(apart.size(), 3u);
  EXPECT_EQ(apart.front().name(), "a pass each");
  const auto shared =
      ways_of_step(server, link_rates(server, true), step_of(16384), Precision::kInt8, 3);
  EXPECT_EQ(shared.front().name(), "ulysses on 3");
  EXPECT_EQ(shared.back().name(), "one GPU");
  const auto both =
      ways_of_step(gaming, link_rates(gaming, false), step_of(16384), Precision::kInt8, 4);
  EXPECT_EQ(both.front().name(), "cfg+ulysses on 4");
  // Of a pass each, shared by two: the longer one, latents there and a velocity back.
  const SharedStep step = step_of(16384);
  const auto half =
      modelled_split(gaming, link_rates(gaming, false), step.first, kHeads, Precision::kInt8, 2);
  EXPECT_NEAR(way_ms(both, "cfg+ulysses on 4"),
              step.passes.first * half->total_ms() +
                  modelled_errand_ms(link_rates(gaming, false), step.values),
              1e-9);
  const auto unguided =
      ways_of_step(server, link_rates(server, true), step_of(16384, 0.0), Precision::kInt8, 2);
  ASSERT_EQ(unguided.size(), 2u);
  EXPECT_EQ(unguided.front().name(), "ulysses on 2");
  EXPECT_NEAR(way_ms(unguided, "one GPU"),
              modelled_pass(server, step_of(16384).first, Precision::kInt8)->total_ms(), 1e-9);
}

// Cards with a pass each wait for each other in steps that have both alone.
TEST(SplitModel, PassesThatAMaskSkipsInTurnDoNotOverlap) {
  const CardRates gaming = card("RTX 4090");
  const LinkRates link = link_rates(gaming, false);
  SharedStep step = step_of(4096);
  const double first = modelled_pass(gaming, step.first, Precision::kInt8)->total_ms();
  const double other = modelled_pass(gaming, step.other, Precision::kInt8)->total_ms();
  const double errand = modelled_errand_ms(link, step.values);
  step.passes.first = step.passes.other = step.passes.both = 0.5;
  const auto at_once = ways_of_step(gaming, link, step, Precision::kInt8, 2);
  EXPECT_NEAR(way_ms(at_once, "a pass each"), 0.5 * std::max(first, other) + errand, 1e-9);
  step.passes.both = 0.0;
  const auto in_turn = ways_of_step(gaming, link, step, Precision::kInt8, 2);
  EXPECT_NEAR(way_ms(in_turn, "a pass each"), 0.5 * (first + other) + errand, 1e-9);
}

// Models whose rows are not shared have a pass each alone.
TEST(SplitModel, WithoutHeadsToShareRowsStayTogether) {
  SharedStep step = step_of(4096);
  step.heads = {};
  const CardRates server = card("H100 80GB HBM3");
  const auto ways = ways_of_step(server, link_rates(server, true), step, Precision::kInt8, 4);
  ASSERT_EQ(ways.size(), 2u);
  EXPECT_EQ(ways.front().name(), "a pass each");
  EXPECT_EQ(ways.back().name(), "one GPU");
}

}  // namespace
}  // namespace intaglio
