#include "eval/eval_picture.h"

#include <numeric>

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

Expected<double> picture_passes(const Model& model, const PictureRequest& request) {
  INTAGLIO_ASSIGN(Sampling sampling, model.sampling(request));
  INTAGLIO_ASSIGN(sampling.mask, choose_mask(model, request, sampling));
  const std::vector<double> passes = computed_passes(sampling, model.cached_blocks());
  return std::accumulate(passes.begin(), passes.end(), 0.0);
}

}  // namespace intaglio::cli
