#include "advice/choose_parallel.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/device_link.h"
#include "pipeline/device.h"

namespace intaglio {
namespace {

// What is known of cards that work together.
struct Cards {
  CardRates slowest;
  LinkRates link;
};

Expected<Cards> open_cards(const PipelineOptions& options, std::span<const int> gpus) {
  INTAGLIO_ASSIGN(const DeviceContext home, open_device(options.gpu, options.threads));
  std::vector<DeviceContext> all{home};
  for (const int gpu : gpus) {
    const auto opened = open_device(gpu, options.threads);
    INTAGLIO_TRY(make_current(home.context));
    if (!opened) return tl::unexpected<Error>(opened.error());
    all.push_back(*opened);
  }
  Cards cards{.slowest = card_rates(*home.context.gpu), .link = {}};
  bool direct = true;
  for (const DeviceContext& a : all) {
    const CardRates rates = card_rates(*a.context.gpu);
    if (rates.s8_tops < cards.slowest.s8_tops) cards.slowest = rates;
    for (const DeviceContext& b : all) {
      INTAGLIO_ASSIGN(const bool reach, reach_each_other(a.context, b.context));
      direct = direct && reach;
    }
  }
  cards.link = link_rates(cards.slowest, direct);
  return cards;
}

// As many key heads as ranks may share a pass; none: it is not shared.
Expected<SharedHeads> heads_to_share(const Model& model, const StepShape& step) {
  constexpr int kMost = 1024;
  const std::unique_ptr<Transformer> transformer = model.transformer(0, {});
  if (!transformer->splits_passes()) return SharedHeads{};
  INTAGLIO_ASSIGN(const Context host, host_context(1));
  int ranks = 1;
  while (ranks < kMost && transformer->check_split(host, {.text_tokens = step.text_tokens,
                                                          .grid_h = 1,
                                                          .grid_w = step.image_tokens,
                                                          .split = {0, ranks + 1}}))
    ++ranks;
  return SharedHeads{.keys = ranks, .group = transformer->query_group(host)};
}

std::string reason_of(const std::vector<WayOfStep>& ways, size_t taken) {
  std::string reason =
      fmt::format("{} ({:.0f} ms a step, modelled", ways[taken].name(), ways[taken].step_ms);
  for (const WayOfStep& way : ways)
    if (&way != &ways[taken]) reason += fmt::format("; {} {:.0f}", way.name(), way.step_ms);
  return reason + (taken == 0 ? ")" : "); what is faster does not fit");
}

}  // namespace

std::string WayOfStep::name() const {
  if (ranks == 1) return second ? "a pass each" : "one GPU";
  return second ? fmt::format("cfg+ulysses on {}", 2 * ranks) : fmt::format("ulysses on {}", ranks);
}

std::vector<WayOfStep> ways_of_step(const CardRates& card, const LinkRates& link,
                                    const SharedStep& step, Precision precision, int cards) {
  std::vector<WayOfStep> ways;
  const SharedHeads heads = step.heads.keys > 0 ? step.heads : SharedHeads{.keys = 1};
  const auto pass_ms = [&](const PassShape& shape, int ranks) -> std::optional<double> {
    const auto pass = modelled_split(card, link, shape, heads, precision, ranks);
    if (!pass) return std::nullopt;
    return pass->total_ms();
  };
  for (int ranks = 1; ranks <= cards; ++ranks) {
    const auto first = pass_ms(step.first, ranks), other = pass_ms(step.other, ranks);
    if (!first || !other) break;
    const StepShape& passes = step.passes;
    ways.push_back({.ranks = ranks,
                    .second = false,
                    .step_ms = passes.first * *first + passes.other * *other});
    if (2 * ranks > cards || !(passes.other > 0.0)) continue;
    ways.push_back({.ranks = ranks,
                    .second = true,
                    .step_ms = (passes.first - passes.both) * *first +
                               (passes.other - passes.both) * *other +
                               passes.both * std::max(*first, *other) +
                               modelled_errand_ms(link, step.values)});
  }
  std::stable_sort(ways.begin(), ways.end(),
                   [](const WayOfStep& a, const WayOfStep& b) { return a.step_ms < b.step_ms; });
  return ways;
}

Expected<ChosenParallel> choose_parallel(const std::shared_ptr<const Model>& model,
                                         const PipelineOptions& options, std::span<const int> gpus,
                                         const PictureRequest& request) {
  if (gpus.empty()) return ChosenParallel{options, "one GPU"};
  INTAGLIO_ASSIGN(const Cards cards, open_cards(options, gpus));
  PictureRequest read = request;
  SharedStep step;
  INTAGLIO_ASSIGN(step.passes, step_shape(*model, read));
  step.first = pass_shape(*model, step.passes, true);
  step.other = pass_shape(*model, step.passes, false);
  INTAGLIO_ASSIGN(step.heads, heads_to_share(*model, step.passes));
  step.values = step.passes.image_tokens * model->info().latent_channels;
  const std::vector<WayOfStep> ways =
      ways_of_step(cards.slowest, cards.link, step, options.selection.precision,
                   static_cast<int>(gpus.size()) + 1);
  // Products that the cards do not have are refused when the pipeline is opened.
  if (ways.empty()) return ChosenParallel{options, "one GPU"};
  Error of_fastest;
  for (size_t i = 0; i < ways.size(); ++i) {
    ChosenParallel chosen{.options = options, .reason = reason_of(ways, i)};
    const auto second = gpus.begin() + ways[i].ranks - 1;
    chosen.options.rank_gpus.assign(gpus.begin(), second);
    if (ways[i].second) {
      chosen.options.second_gpu = *second;
      chosen.options.second_rank_gpus.assign(second + 1, second + ways[i].ranks);
    }
    INTAGLIO_ASSIGN(const std::unique_ptr<Pipeline> pipeline,
                    Pipeline::open(model, chosen.options));
    const Expected<PicturePlan> plan = pipeline->plan(read);
    if (plan) return chosen;
    // Rows of another text than the prompt may be too few to be shared.
    if (plan.error().code != ErrorCode::kOutOfMemory && ways[i].ranks == 1)
      return tl::unexpected<Error>(plan.error());
    if (i == 0) of_fastest = plan.error();
  }
  return tl::unexpected<Error>(of_fastest);
}

}  // namespace intaglio
