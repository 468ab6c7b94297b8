// Sampling of a pipeline's picture: noise to latents, the first steps at half size where the
// request says so (models/progressive.h).
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/memory.h"
#include "core/philox.h"
#include "models/progressive.h"
#include "pipeline/half_band.h"
#include "pipeline/pipeline_impl.h"

namespace intaglio {
namespace {

// What of a step holds an Inf or a NaN: a pass's velocity, or the latents that finite ones led to.
tl::unexpected<Error> not_finite_error(uint32_t bits, const PicturePlan& plan, int64_t step,
                                       const Model& model, Precision precision) {
  const PictureRequest& r = plan.request;
  const std::string where = fmt::format("step {} of {}", step + 1, plan.steps());
  for (size_t i = 0; i < plan.sampling.passes.size(); ++i) {
    if ((bits >> i & 1) == 0) continue;
    return make_error(
        ErrorCode::kUnsupported,
        "{}: the {} computed values that are not finite (an Inf or a NaN); its weights "
        "may hold one, or its numbers are too large for {}",
        where, model.transformer_name(plan.sampling.passes[i].transformer),
        precision_name(precision));
  }
  return make_error(ErrorCode::kUnsupported,
                    "{}: the latents are not finite (an Inf or a NaN) at guidance {}", where,
                    r.guidance[static_cast<size_t>(plan.sampling.skipped_steps + step)]);
}

}  // namespace

HalfBand Pipeline::Impl::half_band(const PicturePlan& plan) const {
  return HalfBand(plan.grid_h, plan.grid_w, info().latent_channels, model->vae_config().packing,
                  context.threads);
}

// Of the passes of the steps at one size.
Pipeline::Impl::RunScratch Pipeline::Impl::run_scratch(const PicturePlan& plan,
                                                       StepSize size) const {
  RunScratch scratch;
  bool streams = false;
  for (size_t i = 0; i < plan.sampling.passes.size(); ++i) {
    if (is_away(i)) continue;
    streams = streams || transformer_of(plan, i).streamed_layers() > 0;
    scratch.beside = pass_scratch(plan, i, size);
    scratch.pass = std::max(scratch.pass, scratch.beside);
  }
  // Layers that stream, of a tighter plan before this one, share their slots.
  if (plan.sampling.passes.size() != 2 || streams || beside_scratch == 0) scratch.beside = 0;
  return scratch;
}

// Of a pass, on the device that it runs on.
size_t Pipeline::Impl::pass_scratch(const PicturePlan& plan, size_t pass, StepSize size) const {
  PassSize pass_size = plan.pass_size(plan.sampling.passes[pass], size);
  pass_size.split = split_of(team_of(pass));
  return transformer_of(plan, pass)
      .scratch_bytes(is_away(pass) ? second->context : context, pass_size, plan.step_count(size));
}

// Makes the sampler of the steps at one size ready. `times` are theirs.
Status Pipeline::Impl::prepare_run(const PicturePlan& plan, std::span<const Text> texts,
                                   StepSize size, std::span<const float> times) {
  SamplerInputs inputs{.passes = {},
                       .grid_h = plan.pass_size({}, size).grid_h,
                       .grid_w = plan.pass_size({}, size).grid_w,
                       .times = times,
                       .velocity_limit = plan.sampling.velocity_limit,
                       .matches_norms = plan.sampling.matches_norms,
                       .mask = plan.sampling.mask ? &*plan.sampling.mask : nullptr,
                       .beside_bytes = run_scratch(plan, size).beside};
  AlignedBuffer sent;  // features of the text that is read away
  for (size_t i = 0; i < plan.sampling.passes.size(); ++i) {
    const Pass& pass = plan.sampling.passes[i];
    SamplerPass input{.transformer = &transformer_of(plan, i),
                      .away = is_away(i) ? &second->context : nullptr,
                      .group = groups[team_of(i)].get()};
    if (pass.text != Pass::kNoText) {
      const Text& read = texts[static_cast<size_t>(pass.text)];
      const bool sends = is_away(i) && read.rows == nullptr;
      if (sends) {
        INTAGLIO_ASSIGN(sent, send_features(read));
      }
      input.text = {.tokens = static_cast<int64_t>(read.ids.size()),
                    .features = (sends ? sent : read.features).as<float>(),
                    .rows = read.rows ? read.rows->data() : nullptr};
    }
    inputs.passes.push_back(input);
  }
  INTAGLIO_ASSIGN(const std::vector<AlignedBuffer> features, add_ranks(plan, texts, inputs));
  INTAGLIO_TRY(sampler_of(size).prepare(context, inputs));
  for (const auto& rank : ranks) INTAGLIO_TRY(synchronize(rank->context));
  return second != nullptr ? synchronize(second->context) : Status();
}

// What the transformers made of texts is made once: later runs and pictures read it.
Status Pipeline::Impl::keep_texts(const PicturePlan& plan, std::vector<Text>& texts) {
  for (size_t i = 0; i < plan.sampling.passes.size(); ++i) {
    const Pass& pass = plan.sampling.passes[i];
    if (pass.text == Pass::kNoText) continue;
    Text& text = texts[static_cast<size_t>(pass.text)];
    if (text.rows != nullptr) continue;
    INTAGLIO_TRY(keep_rows(i, pass.transformer, text.ids));
    text.rows = kept_rows(pass.transformer, text.ids);
  }
  return {};
}

// The text features are not needed on the device once this is done. `clean`: the latents of the
// picture that it begins from.
Status Pipeline::Impl::prepare_samplers(const PicturePlan& plan, std::vector<Text>& texts,
                                        Picture& picture, std::vector<float> clean) {
  const PictureRequest& r = plan.request;
  const int64_t half_steps = plan.sampling.half_steps;
  std::vector<float> times;
  for (const SamplingStep& step : plan.sampling.steps) times.push_back(step.time);
  size_t scratch = run_scratch(plan, StepSize::kFull).all();
  if (half_steps > 0) scratch = std::max(scratch, run_scratch(plan, StepSize::kHalf).all());
  INTAGLIO_TRY(reserve(scratch));
  if (second != nullptr) {
    scratch = pass_scratch(plan, kAwayPass, StepSize::kFull);
    if (half_steps > 0) scratch = std::max(scratch, pass_scratch(plan, kAwayPass, StepSize::kHalf));
    INTAGLIO_TRY(reserve_second(scratch));
  }
  INTAGLIO_TRY(reserve_ranks(plan));
  picture.latents.resize(static_cast<size_t>(plan.image_tokens() * info().latent_channels));
  if (r.noise) {
    picture.latents = *r.noise;
  } else {
    fill_normal(r.seed, picture.latents.data(), static_cast<int64_t>(picture.latents.size()));
  }
  if (r.init) INTAGLIO_TRY(begin_from_init(plan, picture, std::move(clean)));
  INTAGLIO_TRY(prepare_run(plan, texts, StepSize::kFull, times));
  INTAGLIO_TRY(keep_texts(plan, texts));
  if (half_steps > 0) {
    times.resize(static_cast<size_t>(half_steps));
    INTAGLIO_TRY(prepare_run(plan, texts, StepSize::kHalf, times));
    INTAGLIO_TRY(half_sampler.set_latents(context, half_band(plan).low(picture.latents)));
  } else {
    INTAGLIO_TRY(sampler.set_latents(context, picture.latents));
  }
  INTAGLIO_TRY(synchronize(context));
  texts.clear();
  return {};
}

Status Pipeline::Impl::denoise(const PicturePlan& plan, std::vector<Text>& texts, Picture& picture,
                               const ProgressCallback& progress) {
  auto start = Clock::now();
  INTAGLIO_TRY(load_transformers(plan));
  INTAGLIO_TRY(synchronize(context));
  picture.phase_ms[static_cast<size_t>(Phase::kLoadTransformers)] = elapsed_ms(start);
  for (size_t i = 0; i < plan.sampling.passes.size(); ++i) {
    const Transformer& transformer = transformer_of(plan, i);
    picture.streamed_layers += static_cast<int64_t>(transformer.streamed_layers());
    picture.streamed_bytes += transformer.streamed_bytes();
  }
  std::vector<float> clean;
  init.reset();
  if (plan.request.init) {
    start = Clock::now();
    if (progress) progress({Phase::kEncode, 0, 1});
    if (kept_scratch == 0) drop_samplers();  // an earlier picture's, which this plan does not count
    INTAGLIO_ASSIGN(clean, encode_picture(plan.request.init->image, progress));
    picture.phase_ms[static_cast<size_t>(Phase::kEncode)] = elapsed_ms(start);
  }
  start = Clock::now();
  INTAGLIO_TRY(prepare_samplers(plan, texts, picture, std::move(clean)));
  picture.phase_ms[static_cast<size_t>(Phase::kPrepare)] = elapsed_ms(start);

  start = Clock::now();
  INTAGLIO_TRY(run_steps(plan, picture, progress));
  picture.phase_ms[static_cast<size_t>(Phase::kDenoise)] = elapsed_ms(start);
  return {};
}

Status Pipeline::Impl::run_step(const PicturePlan& plan, int64_t step) {
  Sampler& at_work = sampler_of(plan.step_size(step));
  INTAGLIO_TRY(at_work.step(context, step, plan.sampling.steps[static_cast<size_t>(step)]));
  INTAGLIO_ASSIGN(const uint32_t not_finite, at_work.finish_step(context));
  if (not_finite == 0) return {};
  return not_finite_error(not_finite, plan, step, *model, options.selection.precision);
}

// The step is x' = x - delta * velocity, the steps after it take the noise away that is left. At
// half size that is to the end of the half-size picture, which is shown enlarged.
Status Pipeline::Impl::run_estimated_step(const PicturePlan& plan, int64_t step) {
  const StepSize size = plan.step_size(step);
  const bool half = size == StepSize::kHalf;
  const Sampler& at_work = sampler_of(size);
  const auto values =
      static_cast<size_t>(plan.pass_size({}, size).image_tokens() * info().latent_channels);
  std::vector<float> before(values), latents(values);
  INTAGLIO_TRY(at_work.get_latents(context, before));
  INTAGLIO_TRY(run_step(plan, step));
  INTAGLIO_TRY(at_work.get_latents(context, latents));
  const auto next = plan.sampling.steps.begin() + step + 1;
  const SamplingStep& done = plan.sampling.steps[static_cast<size_t>(step)];
  const float left =
      half ? static_cast<float>(plan.sampling.noise_level(static_cast<size_t>(step))) -
                 std::abs(done.delta)
           : std::abs(
                 std::accumulate(next, plan.sampling.steps.end(), 0.0f,
                                 [](float sum, const SamplingStep& s) { return sum + s.delta; }));
  const float scale = left / std::abs(done.delta);
  for (size_t i = 0; i < values; ++i) latents[i] -= scale * (before[i] - latents[i]);
  if (half) {
    latents = half_band(plan).raised(latents);
    for (float& value : latents) value *= 2.0f;  // that a plane of one value keeps it
  }
  if (init) init->keep_given(0.0, latents);
  estimates->take({.step = step + 1, .steps = plan.steps(), .latents = latents});
  return {};
}

// From the half-size latents, and the noise that the picture began with in `noise`.
Status Pipeline::Impl::go_to_full_size(const PicturePlan& plan, std::span<const float> noise) {
  std::vector<float> half(noise.size() / 4);
  INTAGLIO_TRY(half_sampler.get_latents(context, half));
  const double level = plan.sampling.noise_level(static_cast<size_t>(plan.sampling.half_steps));
  return sampler.set_latents(context, half_band(plan).full_size(half, noise, level));
}

Status Pipeline::Impl::run_steps(const PicturePlan& plan, Picture& picture,
                                 const ProgressCallback& progress) {
  const int64_t steps = plan.steps();
  for (int64_t i = 0; i < steps; ++i) {
    const auto step_start = Clock::now();
    if (progress) progress({Phase::kDenoise, i, steps});
    const bool estimated = std::find(estimates->after.begin(), estimates->after.end(), i + 1) !=
                           estimates->after.end();
    if (i > 0 && i == plan.sampling.half_steps)
      INTAGLIO_TRY(go_to_full_size(plan, picture.latents));
    INTAGLIO_TRY(estimated ? run_estimated_step(plan, i) : run_step(plan, i));
    INTAGLIO_TRY(keep_given_latents(plan, i));
    picture.step_ms.push_back(elapsed_ms(step_start));
  }
  INTAGLIO_TRY(sampler.get_latents(context, picture.latents));
  if (progress) progress({Phase::kDenoise, steps, steps});
  return {};
}

}  // namespace intaglio
