#include "eval/eval_picture.h"

#include <algorithm>
#include <memory>
#include <numeric>

#include "models/init_picture.h"
#include "models/progressive.h"
#include "models/transformer.h"

namespace intaglio::cli {

Expected<ChosenPicture> eval_picture(const EvalPlan& plan, const Variant& variant,
                                     const Model& model, int64_t prompt) {
  const EvalPrompt& asked = plan.prompts[static_cast<size_t>(prompt)];
  PictureChoices choices{.prompt = asked.prompt,
                         .width = plan.width,
                         .height = plan.height,
                         .progressive = variant.progressive.value_or(""),
                         .seed = asked.seed};
  INTAGLIO_ASSIGN(choices.schedule, parse_schedule(variant.schedule));
  std::vector<WrongSetting> wrong;
  ChosenPicture chosen = choose_picture(model.info(), choices, wrong);
  if (!wrong.empty())
    return make_error(wrong.front().error.code, "{}: {}", variant.name,
                      wrong.front().error.message);
  if (variant.cache) INTAGLIO_TRY(take_cache(*variant.cache, chosen.request));
  return chosen;
}

namespace {

double sum_of_passes(const Model& model, const Sampling& sampling) {
  const std::vector<double> passes = computed_passes(sampling, model.cached_blocks());
  return std::accumulate(passes.begin(), passes.end(), 0.0);
}

// Rows of the prompt's pass at half size, of those at full size.
Expected<double> half_size_share(const Model& model, const PictureRequest& request) {
  INTAGLIO_ASSIGN(const auto texts, model.texts(request));
  const std::unique_ptr<Transformer> transformer = model.transformer(0, {});
  const int64_t unit = model.info().pixels_per_token;
  const auto rows = [&](int64_t unit_of_side) {
    return static_cast<double>(
        transformer
            ->sequence({.text_tokens = static_cast<int64_t>(texts.front().size()),
                        .grid_h = request.height / unit_of_side,
                        .grid_w = request.width / unit_of_side})
            .all());
  };
  return rows(2 * unit) / rows(unit);
}

}  // namespace

Expected<double> picture_passes(const Model& model, const PictureRequest& request) {
  INTAGLIO_ASSIGN(Sampling sampling, model.sampling(request));
  INTAGLIO_ASSIGN(sampling.mask, choose_mask(model, request, sampling));
  const double all = sum_of_passes(model, sampling);
  INTAGLIO_ASSIGN(const int64_t half_steps,
                  choose_half_steps(request, model.info().pixels_per_token));
  if (half_steps == 0) return all;
  INTAGLIO_ASSIGN(const double share, half_size_share(model, request));
  Sampling at_full_size = sampling;
  skip_steps(half_steps, at_full_size);
  const double rest = sum_of_passes(model, at_full_size);
  return rest + std::max(all - rest, 0.0) * share;
}

}  // namespace intaglio::cli
