#include "pipeline/sampler.h"

#include "core/memory.h"
#include "ops/euler_step.h"

namespace intaglio {

Status Sampler::prepare(const Context& context, const SamplerInputs& in) {
  State& s = *state_;
  const bool guided = in.unconditional != nullptr;
  const int64_t values = in.grid_h * in.grid_w * in.conditional->config().channels;
  if (values != values_ || (guided && s.unguided.size() == 0)) {
    const size_t bytes = static_cast<size_t>(values) * sizeof(float);
    for (AlignedBuffer* buffer : {&s.x, &s.velocity, &s.unguided}) *buffer = AlignedBuffer();
    values_ = 0;
    INTAGLIO_ASSIGN(s.x, allocate(context, bytes));
    INTAGLIO_ASSIGN(s.velocity, allocate(context, bytes));
    if (guided) {
      INTAGLIO_ASSIGN(s.unguided, allocate(context, bytes));
    }
    values_ = values;
  }
  if (s.not_finite.size() == 0) {
    INTAGLIO_ASSIGN(s.not_finite, allocate(context, sizeof(uint32_t)));
  }
  s.inputs = in;
  INTAGLIO_TRY(
      in.conditional->prepare(context, in.text, in.grid_h, in.grid_w, in.times, s.with_text));
  if (guided)
    INTAGLIO_TRY(
        in.unconditional->prepare(context, {}, in.grid_h, in.grid_w, in.times, s.without_text));
  if (guided && in.beside_bytes > 0 && s.side == nullptr) {
    INTAGLIO_ASSIGN(s.side, make_side_stream(context));
  }
  const Places places{.conditional = in.conditional,
                      .unconditional = in.unconditional,
                      .with_text = s.with_text.placement(),
                      .without_text = s.without_text.placement(),
                      .scratch = context.scratch->data(),
                      .x = s.x.data(),
                      .beside_bytes = in.beside_bytes};
  if (places == places_ && plain_) return {};
  places_ = places;
  make_recordings(context);
  return {};
}

void Sampler::make_recordings(const Context& context) {
  State* const s = state_.get();
  plain_.emplace([&context, s] {
    return s->inputs.conditional->forward(context, s->with_text, s->x.as<float>(),
                                          s->velocity.as<float>());
  });
  guided_.reset();
  if (s->inputs.unconditional == nullptr) return;
  guided_.emplace([&context, s] { return run_both(context, *s); });
}

// Both passes of a guided step.
Status Sampler::run_both(const Context& context, State& s) {
  if (s.inputs.beside_bytes > 0) {
    INTAGLIO_TRY(s.side->fork(context));
    // The streams are joined whatever happens: a recording that is given up must not leave one of them in it.
    const Status passes = run_beside(context, s, s.inputs.beside_bytes);
    const Status joined = s.side->join(context);
    return passes ? joined : passes;
  }
  INTAGLIO_TRY(
      s.inputs.conditional->forward(context, s.with_text, s.x.as<float>(), s.velocity.as<float>()));
  return s.inputs.unconditional->forward(context, s.without_text, s.x.as<float>(),
                                         s.unguided.as<float>());
}

Status Sampler::run_beside(const Context& context, State& s, size_t bytes) {
  const Arena::Scope scope(*context.scratch);
  INTAGLIO_ASSIGN(std::byte* const block,
                  context.scratch->take<std::byte>(static_cast<int64_t>(bytes)));
  Arena arena(AlignedBuffer::adopt(block, bytes, [](void*) {}));
  Context beside = context;
  beside.stream = s.side->stream();
  beside.scratch = &arena;
  INTAGLIO_TRY(s.inputs.unconditional->forward(beside, s.without_text, s.x.as<float>(),
                                               s.unguided.as<float>()));
  return s.inputs.conditional->forward(context, s.with_text, s.x.as<float>(),
                                       s.velocity.as<float>());
}

Status Sampler::set_latents(const Context& context, std::span<const float> latents) {
  if (static_cast<int64_t>(latents.size()) != values_) {
    return make_error(ErrorCode::kShapeMismatch, "sampler: {} latents, expected {}", latents.size(),
                      values_);
  }
  return copy_in(context, state_->x.data(), latents.data(), latents.size_bytes());
}

Status Sampler::get_latents(const Context& context, std::span<float> latents) const {
  if (static_cast<int64_t>(latents.size()) != values_) {
    return make_error(ErrorCode::kShapeMismatch, "sampler: room for {} latents, expected {}",
                      latents.size(), values_);
  }
  return copy_out(context, latents.data(), state_->x.data(), latents.size_bytes());
}

Status Sampler::step(const Context& context, int64_t step, float guidance, float delta) {
  State& s = *state_;
  const bool guided = guidance != 1.0f;
  if (guided && !guided_)
    return make_error(ErrorCode::kInvalidArgument,
                      "sampler: guidance {} without an unconditional transformer", guidance);
  INTAGLIO_TRY(s.inputs.conditional->select_step(context, s.with_text, step));
  if (guided) INTAGLIO_TRY(s.inputs.unconditional->select_step(context, s.without_text, step));
  INTAGLIO_TRY((guided ? *guided_ : *plain_).run(context));
  INTAGLIO_TRY(fill_zero(context, s.not_finite.data(), sizeof(uint32_t)));
  const WeightedVelocity passes[] = {{s.velocity.as<float>(), guided ? guidance : 1.0f},
                                     {s.unguided.as<float>(), 1.0f - guidance}};
  return euler_step(context, {.x = s.x.as<float>(),
                              .count = values_,
                              .passes = std::span(passes).first(guided ? 2 : 1),
                              .delta = delta,
                              .not_finite = s.not_finite.as<uint32_t>()});
}

Expected<uint32_t> Sampler::finish_step(const Context& context) const {
  uint32_t bits = 0;
  INTAGLIO_TRY(copy_out(context, &bits, state_->not_finite.data(), sizeof(bits)));
  return bits;
}

}  // namespace intaglio
