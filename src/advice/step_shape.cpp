#include "advice/step_shape.h"

#include <algorithm>

#include "models/choose_picture.h"

namespace intaglio {

StepShape step_shape(const Sampling& sampling, std::span<const int64_t> blocks) {
  StepShape shape{.first = 0.0, .other = 0.0, .both = 0.0};
  const auto steps = static_cast<double>(sampling.steps.size());
  Sampling one = sampling;  // a step at a time
  for (size_t step = 0; step < sampling.steps.size(); ++step) {
    one.steps = {sampling.steps[step]};
    for (size_t pass = 0; sampling.mask && pass < sampling.passes.size(); ++pass)
      one.mask->passes[pass] = {sampling.mask->passes[pass][step]};
    double first = 0.0, other = 0.0;
    const std::vector<double> computed = computed_passes(one, blocks);
    for (size_t pass = 0; pass < computed.size(); ++pass)
      (pass == 0 ? first : other) += computed[pass];
    shape.first += first;
    shape.other += other;
    shape.both += std::min(first, other);
  }
  for (double* const share : {&shape.first, &shape.other, &shape.both}) *share /= steps;
  return shape;
}

Expected<StepShape> step_shape(const Model& model, PictureRequest& request) {
  INTAGLIO_ASSIGN(auto texts, model.texts(request));
  request.token_ids = std::move(texts.front());
  StepShape step;
  if (request.steps >= 1 && request.guidance.size() == static_cast<size_t>(request.steps)) {
    INTAGLIO_ASSIGN(Sampling sampling, model.sampling(request));
    INTAGLIO_ASSIGN(sampling.mask, choose_mask(model, request, sampling));
    step = step_shape(sampling, model.cached_blocks());
  }
  const int64_t unit = model.info().pixels_per_token;
  step.text_tokens = static_cast<int64_t>(request.token_ids->size());
  step.image_tokens = std::max<int64_t>(1, (request.width / unit) * (request.height / unit));
  return step;
}

PassShape pass_shape(const Model& model, const StepShape& step, bool first) {
  const int which = first ? 0 : model.transformers() - 1;
  const bool reads_text = first || which == 0;
  const std::unique_ptr<Transformer> transformer = model.transformer(which, {});
  return {.width = transformer->width(),
          .linears = transformer->listed_linears(),
          .text_tokens = reads_text ? step.text_tokens : 0,
          .image_tokens = step.image_tokens};
}

}  // namespace intaglio
