#include "pipeline/sampler.h"

#include "core/memory.h"
#include "ops/elementwise.h"

namespace intaglio {

Expected<Sampler> Sampler::prepare(const Context& context, const SamplerInputs& in) {
  Sampler sampler;
  sampler.values_ = in.grid_h * in.grid_w * in.conditional->config().channels;
  sampler.state_ = std::make_shared<State>();
  State& s = *sampler.state_;
  s.inputs = in;
  INTAGLIO_ASSIGN(s.with_text, in.conditional->prepare(context, in.text_features, in.text_tokens,
                                                       in.grid_h, in.grid_w, in.times));
  const size_t bytes = static_cast<size_t>(sampler.values_) * sizeof(float);
  INTAGLIO_ASSIGN(s.x, allocate(context, bytes));
  INTAGLIO_ASSIGN(s.velocity, allocate(context, bytes));
  const auto conditional = [&context, &s] {
    return s.inputs.conditional->forward(context, s.with_text, s.x.as<float>(),
                                         s.velocity.as<float>());
  };
  sampler.plain_.emplace(conditional);
  if (in.unconditional == nullptr) return sampler;
  INTAGLIO_ASSIGN(s.without_text,
                  in.unconditional->prepare(context, nullptr, 0, in.grid_h, in.grid_w, in.times));
  INTAGLIO_ASSIGN(s.unguided, allocate(context, bytes));
  sampler.guided_.emplace([&context, &s, conditional]() -> Status {
    INTAGLIO_TRY(conditional());
    return s.inputs.unconditional->forward(context, s.without_text, s.x.as<float>(),
                                           s.unguided.as<float>());
  });
  return sampler;
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
  return euler_step(context,
                    {.conditional = s.velocity.as<float>(),
                     .unconditional = guided ? s.unguided.as<float>() : nullptr,
                     .guidance = guidance,
                     .delta = delta},
                    s.x.as<float>(), values_);
}

}  // namespace intaglio
