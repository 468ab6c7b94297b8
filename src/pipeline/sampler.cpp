#include "pipeline/sampler.h"

#include <algorithm>

#include "core/memory.h"
#include "ops/euler_step.h"

namespace intaglio {

// Memory of the latents and of each pass's velocity.
Status Sampler::hold_latents(const Context& context, const SamplerInputs& in) {
  State& s = *state_;
  const int64_t values = in.grid_h * in.grid_w * in.passes.front().transformer->channels();
  const size_t bytes = static_cast<size_t>(values) * sizeof(float);
  if (values != values_) {
    s.x = AlignedBuffer();
    s.velocities.clear();
    values_ = 0;
    INTAGLIO_ASSIGN(s.x, allocate(context, bytes));
    values_ = values;
  }
  while (s.velocities.size() < in.passes.size()) {
    INTAGLIO_ASSIGN(AlignedBuffer velocity, allocate(context, bytes));
    s.velocities.push_back(std::move(velocity));
  }
  if (s.not_finite.size() == 0) {
    INTAGLIO_ASSIGN(s.not_finite, allocate(context, sizeof(uint32_t)));
  }
  if (in.velocity_limit > 0.0f && s.factor.size() == 0) {
    INTAGLIO_ASSIGN(s.factor, allocate(context, sizeof(float)));
  }
  return {};
}

Status Sampler::prepare(const Context& context, const SamplerInputs& in) {
  State& s = *state_;
  INTAGLIO_TRY(hold_latents(context, in));
  s.inputs = in;
  s.sessions.resize(std::max(s.sessions.size(), in.passes.size()));
  Places places{.passes = {},
                .scratch = context.scratch->data(),
                .x = s.x.data(),
                .beside_bytes = in.beside_bytes};
  for (size_t i = 0; i < in.passes.size(); ++i) {
    const SamplerPass& pass = in.passes[i];
    INTAGLIO_TRY(pass.transformer->prepare(context, pass.text, in.grid_h, in.grid_w, in.times,
                                           s.sessions[i]));
    places.passes.emplace_back(pass.transformer, s.sessions[i].placement());
  }
  if (in.beside_bytes > 0 && s.side == nullptr) {
    INTAGLIO_ASSIGN(s.side, make_side_stream(context));
  }
  if (places == places_) return {};
  places_ = std::move(places);
  recordings_.clear();
  return {};
}

Recording& Sampler::recording_of(const Context& context, uint32_t passes) {
  for (const auto& [of, recording] : recordings_)
    if (of == passes) return *recording;
  State* const s = state_.get();
  recordings_.emplace_back(passes, std::make_unique<Recording>([&context, s, passes] {
                             return run_passes(context, *s, passes);
                           }));
  return *recordings_.back().second;
}

Status Sampler::run_pass(const Context& context, State& s, size_t pass) {
  return s.inputs.passes[pass].transformer->forward(context, s.sessions[pass], s.x.as<float>(),
                                                    s.velocities[pass].as<float>());
}

Status Sampler::run_passes(const Context& context, State& s, uint32_t passes) {
  if (s.inputs.beside_bytes > 0 && passes == 0b11) {
    INTAGLIO_TRY(s.side->fork(context));
    // The streams are joined whatever happens: a recording that is given up must not leave one of
    // them in it.
    const Status ran = run_beside(context, s);
    const Status joined = s.side->join(context);
    return ran ? joined : ran;
  }
  for (size_t i = 0; i < s.inputs.passes.size(); ++i)
    if ((passes >> i & 1) != 0) INTAGLIO_TRY(run_pass(context, s, i));
  return {};
}

Status Sampler::run_beside(const Context& context, State& s) {
  const size_t bytes = s.inputs.beside_bytes;
  const Arena::Scope scope(*context.scratch);
  INTAGLIO_ASSIGN(std::byte* const block,
                  context.scratch->take<std::byte>(static_cast<int64_t>(bytes)));
  Arena arena(AlignedBuffer::adopt(block, bytes, [](void*) {}));
  Context beside = context;
  beside.stream = s.side->stream();
  beside.scratch = &arena;
  INTAGLIO_TRY(run_pass(beside, s, 1));
  return run_pass(context, s, 0);
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

Status Sampler::step(const Context& context, int64_t step, const SamplingStep& settings) {
  State& s = *state_;
  if (settings.weights.size() != s.inputs.passes.size())
    return make_error(ErrorCode::kInvalidArgument, "sampler: {} weights for {} passes",
                      settings.weights.size(), s.inputs.passes.size());
  uint32_t running = 0;
  ran_.clear();
  std::vector<WeightedVelocity> velocities;
  for (size_t i = 0; i < settings.weights.size(); ++i) {
    if (settings.weights[i] == 0.0f) continue;
    running |= uint32_t{1} << i;
    ran_.push_back(i);
    velocities.push_back({s.velocities[i].as<float>(), settings.weights[i]});
    INTAGLIO_TRY(s.inputs.passes[i].transformer->select_step(context, s.sessions[i], step));
  }
  INTAGLIO_TRY(recording_of(context, running).run(context));
  const bool limited = s.inputs.velocity_limit > 0.0f && velocities.size() > 1;
  if (limited)
    INTAGLIO_TRY(limit_velocity_norm(context, {.passes = velocities,
                                               .count = values_,
                                               .limit = s.inputs.velocity_limit,
                                               .factor = s.factor.as<float>()}));
  INTAGLIO_TRY(fill_zero(context, s.not_finite.data(), sizeof(uint32_t)));
  return euler_step(context, {.x = s.x.as<float>(),
                              .count = values_,
                              .passes = velocities,
                              .delta = settings.delta,
                              .factor = limited ? s.factor.as<float>() : nullptr,
                              .not_finite = s.not_finite.as<uint32_t>()});
}

Expected<uint32_t> Sampler::finish_step(const Context& context) const {
  uint32_t bits = 0;
  INTAGLIO_TRY(copy_out(context, &bits, state_->not_finite.data(), sizeof(bits)));
  uint32_t of_passes = bits & kLatentsNotFinite;
  for (size_t i = 0; i < ran_.size(); ++i)
    if ((bits >> i & 1) != 0) of_passes |= uint32_t{1} << ran_[i];
  return of_passes;
}

}  // namespace intaglio
