#include "pipeline/sampler.h"

#include <algorithm>

#include "core/memory.h"
#include "ops/euler_step.h"
#include "pipeline/device.h"

namespace intaglio {

namespace {

// Weights of values at `known` in the polynomial through them, at `at` (Lagrange).
std::vector<float> extrapolation(std::span<const float> known, float at) {
  std::vector<float> weights;
  for (size_t i = 0; i < known.size(); ++i) {
    double weight = 1.0;
    for (size_t j = 0; j < known.size(); ++j)
      if (j != i) weight *= (double{at} - known[j]) / (double{known[i]} - known[j]);
    weights.push_back(static_cast<float>(weight));
  }
  return weights;
}

Status hold(const Context& context, bool wanted, size_t bytes, AlignedBuffer& buffer) {
  if (!wanted) {
    buffer = AlignedBuffer();
    return {};
  }
  if (buffer.size() == bytes) return {};
  buffer = AlignedBuffer();
  INTAGLIO_ASSIGN(buffer, allocate(context, bytes));
  return {};
}

}  // namespace

// Memory of the latents and of each pass's velocity.
Status Sampler::hold_latents(const Context& context, const SamplerInputs& in) {
  State& s = *state_;
  const int64_t values = in.grid_h * in.grid_w * in.passes.front().transformer->channels();
  const size_t bytes = static_cast<size_t>(values) * sizeof(float);
  values_ = 0;
  INTAGLIO_TRY(hold(context, true, bytes, s.x));
  s.passes.resize(std::max(s.passes.size(), in.passes.size()));
  for (size_t i = 0; i < s.passes.size(); ++i)
    INTAGLIO_TRY(hold(context, i < in.passes.size(), bytes, s.passes[i].velocity));
  values_ = values;
  INTAGLIO_TRY(hold(context, true, sizeof(uint32_t), s.not_finite));
  const auto rows = static_cast<size_t>(in.matches_norms ? in.grid_h * in.grid_w : 1);
  return hold(context, in.velocity_limit > 0.0f || in.matches_norms, rows * sizeof(float),
              s.factor);
}

void Sampler::State::wait_for_away() const {
  for (const PassState& pass : passes) {
    if (pass.away != nullptr) static_cast<void>(synchronize(pass.away->context()));
    for (const auto& rank : pass.ranks) static_cast<void>(synchronize(rank->io.context()));
  }
}

bool Sampler::State::has_others() const {
  return std::any_of(passes.begin(), passes.end(), [](const PassState& pass) {
    return pass.away != nullptr || !pass.ranks.empty();
  });
}

// Of the device that a pass runs on.
const Context& Sampler::context_of(const Context& context, size_t pass) const {
  const Context* const away = state_->inputs.passes[pass].away;
  return away != nullptr ? *away : context;
}

// Memory that a pass takes because of the mask.
Status Sampler::hold_estimates(const Context& context, const SamplerInputs& in, size_t pass) {
  PassState& p = state_->passes[pass];
  p.computed.clear();
  const bool predicts = in.mask != nullptr && in.mask->uses(pass, PassWork::kPredict);
  const bool reuses = in.mask != nullptr && in.mask->uses(pass, PassWork::kReuse);
  p.earlier.resize(predicts ? static_cast<size_t>(in.mask->order) : 0);
  for (AlignedBuffer& velocity : p.earlier)
    INTAGLIO_TRY(hold(context, true, p.velocity.size(), velocity));
  INTAGLIO_TRY(hold(context, predicts || reuses, p.velocity.size(), p.estimate));
  // A rank of text alone holds a value too: whether a pass keeps is the same on all ranks.
  const auto hold_residual = [&](const Context& on, const Transformer& transformer,
                                 const TransformerSession& session, AlignedBuffer& residual) {
    const int64_t values = std::max<int64_t>(1, transformer.residual_values(session.size()));
    return on_device(on, context, [&] {
      return hold(on, reuses, static_cast<size_t>(values) * sizeof(float), residual);
    });
  };
  for (size_t rank = 0; rank < p.ranks.size(); ++rank) {
    const SamplerRank& given = in.passes[pass].ranks[rank];
    INTAGLIO_TRY(hold_residual(*given.context, *given.transformer, p.ranks[rank]->session,
                               p.ranks[rank]->residual));
  }
  return hold_residual(context_of(context, pass), *in.passes[pass].transformer, p.session,
                       p.residual);
}

// Modulations depend on the transformer and on the steps alone.
void Sampler::share_steps(const SamplerInputs& in) {
  std::vector<PassState>& passes = state_->passes;
  for (size_t i = 0; i < passes.size(); ++i) {
    size_t leader = i;
    for (size_t j = 0; j < i && i < in.passes.size() && leader == i; ++j)
      if (in.passes[j].transformer == in.passes[i].transformer) leader = j;
    passes[i].session.share_steps(leader == i ? nullptr : &passes[leader].session);
    for (size_t rank = 0; rank < passes[i].ranks.size(); ++rank)
      passes[i].ranks[rank]->session.share_steps(
          leader == i ? nullptr : &passes[leader].ranks[rank]->session);
  }
}

Sampler::Places Sampler::places_of(const Context& context) const {
  const State& s = *state_;
  Places places{.passes = {},
                .buffers = {context.scratch->data(), s.x.data()},
                .beside_bytes = s.inputs.beside_bytes,
                .first_blocks = s.first_blocks};
  for (size_t i = 0; i < s.inputs.passes.size(); ++i) {
    const PassState& pass = s.passes[i];
    places.passes.emplace_back(s.inputs.passes[i].transformer, pass.session.placement());
    for (const AlignedBuffer* buffer : {&pass.velocity, &pass.estimate, &pass.residual})
      places.buffers.push_back(buffer->data());
    if (pass.away == nullptr) continue;
    places.buffers.insert(places.buffers.end(), {pass.away->latents(), pass.away->velocity(),
                                                 pass.away->context().scratch->data()});
  }
  return places;
}

Status Sampler::prepare_pass(const Context& context, const SamplerInputs& in, size_t pass) {
  const SamplerPass& given = in.passes[pass];
  PassState& p = state_->passes[pass];
  if (given.away == nullptr) {
    p.away.reset();
  } else {
    if (p.away == nullptr) p.away = std::make_unique<PassAway>();
    INTAGLIO_TRY(p.away->prepare(context, *given.away, p.velocity.size()));
  }
  const Context& on = context_of(context, pass);
  p.session.share_rows(given.group != nullptr ? &given.group->rank(0) : nullptr);
  INTAGLIO_TRY(on_device(on, context, [&] {
    return given.transformer->prepare(on, given.text, in.grid_h, in.grid_w, in.times, p.session);
  }));
  for (size_t rank = 0; rank < p.ranks.size(); ++rank)
    INTAGLIO_TRY(prepare_rank(context, in, pass, rank));
  return hold_estimates(context, in, pass);
}

Status Sampler::prepare_rank(const Context& context, const SamplerInputs& in, size_t pass,
                             size_t rank) {
  PassState& p = state_->passes[pass];
  const SamplerRank& given = in.passes[pass].ranks[rank];
  RankState& r = *p.ranks[rank];
  INTAGLIO_TRY(r.io.prepare(context, *given.context, p.velocity.size()));
  r.session.share_rows(&in.passes[pass].group->rank(static_cast<int>(rank) + 1));
  return on_device(*given.context, context, [&] {
    return given.transformer->prepare(*given.context, given.text, in.grid_h, in.grid_w, in.times,
                                      r.session);
  });
}

Status Sampler::prepare(const Context& context, const SamplerInputs& in) {
  State& s = *state_;
  INTAGLIO_TRY(hold_latents(context, in));
  s.inputs = in;
  s.first_blocks = in.mask == nullptr ? 0 : in.mask->first_blocks;
  for (size_t i = 0; i < s.passes.size(); ++i) {
    auto& ranks = s.passes[i].ranks;
    ranks.resize(i < in.passes.size() ? in.passes[i].ranks.size() : 0);
    for (auto& rank : ranks)
      if (rank == nullptr) rank = std::make_unique<RankState>();
  }
  share_steps(in);
  for (size_t i = 0; i < in.passes.size(); ++i) INTAGLIO_TRY(prepare_pass(context, in, i));
  times_.assign(in.times.begin(), in.times.end());
  if (in.beside_bytes > 0 && s.side == nullptr) {
    INTAGLIO_ASSIGN(s.side, make_side_stream(context));
  }
  Places places = places_of(context);
  if (places == places_) return {};
  places_ = std::move(places);
  recordings_.clear();
  return {};
}

Recording& Sampler::recording_of(const Context& context, uint32_t works) {
  for (const auto& [of, recording] : recordings_)
    if (of == works) return *recording;
  State* const s = state_.get();
  recordings_.emplace_back(works, std::make_unique<Recording>([&context, s, works] {
                             return run_passes(context, *s, works);
                           }));
  return *recordings_.back().second;
}

Status Sampler::run_pass(const Context& context, State& s, size_t pass, Work work) {
  PassState& p = s.passes[pass];
  const bool away = p.away != nullptr;
  const float* const x = away ? p.away->latents() : s.x.as<float>();
  float* const velocity =
      away ? p.away->velocity() : (work == kFirstBlocks ? p.estimate : p.velocity).as<float>();
  return s.inputs.passes[pass].transformer->forward(context, p.session, x, velocity, nullptr,
                                                    cache_of(s, p.residual, work));
}

BlockCache Sampler::cache_of(const State& s, const AlignedBuffer& residual, Work work) {
  if (work != kForwardAndKeep && work != kFirstBlocks) return {};
  return {.first = static_cast<size_t>(s.first_blocks),
          .residual = residual.as<float>(),
          .reuse = work == kFirstBlocks};
}

Status Sampler::run_passes(const Context& context, State& s, uint32_t works) {
  const bool both = work_of(works, 0) != kNothing && work_of(works, 1) != kNothing;
  if (s.inputs.beside_bytes > 0 && both && s.inputs.passes.size() == 2) {
    INTAGLIO_TRY(s.side->fork(context));
    // The streams are joined whatever happens: a recording that is given up must not leave one of
    // them in it.
    const Status ran = run_beside(context, s, works);
    const Status joined = s.side->join(context);
    return ran ? joined : ran;
  }
  for (size_t i = 0; i < s.inputs.passes.size(); ++i)
    if (const Work work = work_of(works, i); work != kNothing)
      INTAGLIO_TRY(run_pass(context, s, i, work));
  return {};
}

Status Sampler::run_beside(const Context& context, State& s, uint32_t works) {
  const size_t bytes = s.inputs.beside_bytes;
  const Arena::Scope scope(*context.scratch);
  INTAGLIO_ASSIGN(std::byte* const block,
                  context.scratch->take<std::byte>(static_cast<int64_t>(bytes)));
  Arena arena(AlignedBuffer::adopt(block, bytes, [](void*) {}));
  Context beside = context;
  beside.stream = s.side->stream();
  beside.scratch = &arena;
  INTAGLIO_TRY(run_pass(beside, s, 1, work_of(works, 1)));
  return run_pass(context, s, 0, work_of(works, 0));
}

// The passes of a step, on whatever device each of them runs.
Status Sampler::run_works(const Context& context, uint32_t works) {
  State& s = *state_;
  s.home = context;
  if (works == 0) return {};
  std::vector<size_t> passes;
  bool several = false;
  for (size_t i = 0; i < s.inputs.passes.size(); ++i) {
    if (work_of(works, i) == kNothing) continue;
    passes.push_back(i);
    several = several || s.passes[i].away != nullptr || s.inputs.passes[i].group != nullptr;
  }
  return several ? run_on_several(passes, works) : recording_of(s.home, works).run(s.home);
}

// Makes room for the velocity that is computed at `step`.
Status Sampler::keep_velocity(const Context& context, PassState& p, int64_t step) {
  for (size_t i = std::min(p.earlier.size(), p.computed.size()); i > 0; --i) {
    const AlignedBuffer& newer = i > 1 ? p.earlier[i - 2] : p.velocity;
    INTAGLIO_TRY(copy_inside(context, p.earlier[i - 1].data(), newer.data(), newer.size()));
  }
  p.computed.insert(p.computed.begin(), step);
  p.computed.resize(std::min(p.computed.size(), p.earlier.size() + 1));
  return {};
}

// The estimate of a pass at `step` from its last computed velocities.
Status Sampler::predict(const Context& context, size_t pass, int64_t step) const {
  PassState& p = state_->passes[pass];
  std::vector<float> known;
  for (const int64_t computed : p.computed) known.push_back(times_[static_cast<size_t>(computed)]);
  const std::vector<float> weights = extrapolation(known, times_[static_cast<size_t>(step)]);
  std::vector<WeightedVelocity> velocities;
  for (size_t i = 0; i < weights.size(); ++i)
    velocities.push_back({(i == 0 ? p.velocity : p.earlier[i - 1]).as<float>(), weights[i]});
  INTAGLIO_TRY(fill_zero(context, p.estimate.data(), p.estimate.size()));
  return euler_step(
      context,
      {.x = p.estimate.as<float>(), .count = values_, .passes = velocities, .delta = -1.0f});
}

// What a pass that has a weight does at `step`, but for its forward pass.
Expected<Sampler::Work> Sampler::begin_pass(const Context& context, size_t pass, int64_t step) {
  const SamplerInputs& in = state_->inputs;
  PassState& p = state_->passes[pass];
  const PassWork work =
      in.mask == nullptr ? PassWork::kCompute : in.mask->passes[pass][static_cast<size_t>(step)];
  if (work != PassWork::kCompute && p.computed.empty())
    return make_error(ErrorCode::kInvalidArgument,
                      "sampler: pass {} is not computed before step {}", pass + 1, step + 1);
  if (work == PassWork::kPredict) {
    INTAGLIO_TRY(predict(context, pass, step));
    return kNothing;
  }
  const Context& on = context_of(context, pass);
  INTAGLIO_TRY(on_device(
      on, context, [&] { return in.passes[pass].transformer->select_step(on, p.session, step); }));
  for (size_t rank = 0; rank < p.ranks.size(); ++rank) {
    const SamplerRank& given = in.passes[pass].ranks[rank];
    INTAGLIO_TRY(on_device(*given.context, context, [&] {
      return given.transformer->select_step(*given.context, p.ranks[rank]->session, step);
    }));
  }
  if (work == PassWork::kReuse) return kFirstBlocks;
  INTAGLIO_TRY(keep_velocity(context, p, step));
  return p.residual.data() == nullptr ? kForward : kForwardAndKeep;
}

Expected<std::vector<float>> Sampler::text_rows(const Context& context, size_t pass) const {
  const Context& on = context_of(context, pass);
  return on_device(on, context, [&] {
    return state_->inputs.passes[pass].transformer->text_rows(on, state_->passes[pass].session);
  });
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

// What guided velocities are multiplied with; nullptr: nothing.
Expected<const float*> Sampler::scale_velocity(const Context& context,
                                               std::span<const WeightedVelocity> velocities) const {
  const State& s = *state_;
  float* const factor = s.factor.as<float>();
  if (velocities.size() < 2 || factor == nullptr) return nullptr;
  if (s.inputs.matches_norms) {
    const int64_t rows = s.inputs.grid_h * s.inputs.grid_w;
    INTAGLIO_TRY(match_row_norms(
        context, {.passes = velocities, .rows = rows, .cols = values_ / rows, .factor = factor}));
  } else {
    INTAGLIO_TRY(limit_velocity_norm(context, {.passes = velocities,
                                               .count = values_,
                                               .limit = s.inputs.velocity_limit,
                                               .factor = factor}));
  }
  return factor;
}

Status Sampler::step(const Context& context, int64_t step, const SamplingStep& settings) {
  Status given = give_step(context, step, settings);
  // What a step that failed left under way uses memory that is filled or freed next.
  if (!given && state_->has_others()) {
    state_->wait_for_away();
    static_cast<void>(synchronize(context));
  }
  return given;
}

Status Sampler::give_step(const Context& context, int64_t step, const SamplingStep& settings) {
  State& s = *state_;
  if (settings.weights.size() != s.inputs.passes.size())
    return make_error(ErrorCode::kInvalidArgument, "sampler: {} weights for {} passes",
                      settings.weights.size(), s.inputs.passes.size());
  uint32_t works = 0;
  ran_.clear();
  std::vector<WeightedVelocity> velocities;
  for (size_t i = 0; i < settings.weights.size(); ++i) {
    if (settings.weights[i] == 0.0f) continue;
    INTAGLIO_ASSIGN(const Work work, begin_pass(context, i, step));
    works |= works_of(i, work);
    ran_.push_back(i);
    const bool computed = work == kForward || work == kForwardAndKeep;
    const PassState& pass = s.passes[i];
    velocities.push_back(
        {(computed ? pass.velocity : pass.estimate).as<float>(), settings.weights[i]});
  }
  INTAGLIO_TRY(run_works(context, works));
  INTAGLIO_ASSIGN(const float* const factor, scale_velocity(context, velocities));
  INTAGLIO_TRY(fill_zero(context, s.not_finite.data(), sizeof(uint32_t)));
  return euler_step(
      context,
      {.x = s.x.as<float>(),
       .count = values_,
       .passes = velocities,
       .delta = settings.delta,
       .factor = factor,
       .factor_cols = s.inputs.matches_norms ? s.inputs.passes.front().transformer->channels() : 0,
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
