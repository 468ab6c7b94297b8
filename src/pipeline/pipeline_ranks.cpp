// The GPUs that share the passes of a pipeline's pictures with the ones that these run on: each has
// their transformers, and computes a part of the rows.
#include <algorithm>

#include "core/memory.h"
#include "pipeline/pipeline_impl.h"

namespace intaglio {

Status check_rank_gpus(const PipelineOptions& options) {
  const size_t ranks = options.rank_gpus.size() + options.second_rank_gpus.size();
  if (ranks == 0) return {};
  if (!options.gpu || (!options.second_rank_gpus.empty() && !options.second_gpu))
    return make_error(ErrorCode::kInvalidArgument,
                      "devices: GPUs that share passes: expected another GPU beside them, which "
                      "runs the passes");
  if (options.vram_budget > 0)
    return make_error(ErrorCode::kInvalidArgument,
                      "devices: {} GPUs that share passes take no VRAM budget: layers do not "
                      "stream to several GPUs, each keeps all weights",
                      ranks + 1 + (options.second_gpu ? 1 : 0));
  return {};
}

Status Pipeline::Impl::open_ranks() {
  for (size_t team = 0; team < kTeams; ++team) {
    const std::vector<int>& gpus = team == 0 ? options.rank_gpus : options.second_rank_gpus;
    if (gpus.empty()) continue;
    std::vector<const Context*> contexts{team == 0 ? &context : &second->context};
    for (const int gpu : gpus) {
      INTAGLIO_ASSIGN(contexts.emplace_back(),
                      open_rank(gpu, team, static_cast<int>(contexts.size())));
    }
    INTAGLIO_ASSIGN(groups[team], make_collective_group(contexts));
  }
  return {};
}

Expected<const Context*> Pipeline::Impl::open_rank(int gpu, size_t team, int number) {
  const auto opened = open_device(gpu, options.threads);
  INTAGLIO_TRY(make_current(context));
  if (!opened) return tl::unexpected<Error>(opened.error());
  RankDevice& rank = *ranks.emplace_back(std::make_unique<RankDevice>());
  rank.team = team;
  rank.rank = number;
  rank.stream = opened->stream;
  rank.context = opened->context;
  rank.context.scratch = &rank.arena;
  rank.transformers.resize(static_cast<size_t>(model->transformers()));
  INTAGLIO_TRY(on_device(rank.context, context, [&]() -> Status {
    INTAGLIO_TRY(options.selection.check_device(rank.context));
    INTAGLIO_TRY(options.attention.check_device(rank.context));
    INTAGLIO_ASSIGN(rank.memory_limit, memory_limit_of(rank.context, options));
    return {};
  }));
  return &rank.context;
}

// Of each size that steps have; `on`: of the rank that `split` says.
Status Pipeline::Impl::check_shared_pass(const PicturePlan& p, size_t pass, const Context& on,
                                         RowSplit split) const {
  const Pass& shared = p.sampling.passes[pass];
  const std::unique_ptr<Transformer> transformer = model->transformer(shared.transformer, {});
  for (const StepSize at : {StepSize::kFull, StepSize::kHalf}) {
    if (at == StepSize::kHalf && p.sampling.half_steps == 0) continue;
    PassSize size = p.pass_size(shared, at);
    size.split = split;
    INTAGLIO_TRY(transformer->check_split(on, size));
  }
  return {};
}

Expected<std::vector<MemoryPlan>> Pipeline::Impl::plan_rank_memory(const PicturePlan& p) const {
  std::vector<MemoryPlan> plans;
  for (const auto& rank : ranks) {
    PlannedPicture picture = planned_picture(p);
    picture.away.reset();
    if (second != nullptr) picture.alone = rank->team == 0 ? 0 : kAwayPass;
    picture.split = split_of(rank->team, rank->rank);
    const auto plan = on_device(rank->context, context, [&]() -> Expected<MemoryPlan> {
      for (size_t i = 0; i < picture.passes.size(); ++i)
        if (team_of(i) == rank->team)
          INTAGLIO_TRY(check_shared_pass(p, i, rank->context, picture.split));
      const auto make = [&]() -> Expected<MemoryPlan> {
        INTAGLIO_ASSIGN(const MemoryNeeds needs,
                        rank_needs(rank->context, *model, transformer_options(), picture));
        return plan_memory(needs, {.bytes = rank->memory_limit});
      };
      // What an earlier picture loaded may stay if it fits.
      for (const auto& transformer : rank->transformers)
        picture.kept.push_back(transformer != nullptr);
      Expected<MemoryPlan> all = make();
      if (all) return all;
      picture.kept.clear();
      return make();
    });
    if (!plan) return memory_error(p, rank->context, plan.error());
    plans.push_back(*plan);
  }
  return plans;
}

Status Pipeline::Impl::load_ranks(const PicturePlan& plan) {
  for (size_t i = 0; i < ranks.size(); ++i) {
    RankDevice& rank = *ranks[i];
    const MemoryPlan& memory = plan.rank_memory[i];
    INTAGLIO_TRY(on_device(rank.context, context, [&]() -> Status {
      if (rank.streamer == nullptr && memory.slots > 0) {
        INTAGLIO_ASSIGN(rank.streamer,
                        WeightStreamer::make(rank.context, memory.slots, memory.slot_bytes));
      }
      for (size_t which = 0; which < rank.transformers.size(); ++which) {
        std::unique_ptr<Transformer>& transformer = rank.transformers[which];
        if (!memory.budgets[which]) {
          transformer.reset();
          continue;
        }
        if (transformer != nullptr) {
          INTAGLIO_TRY(transformer->make_branches(rank.context));
          continue;
        }
        TransformerOptions with = transformer_options();
        with.streamer = rank.streamer;
        INTAGLIO_ASSIGN(transformer, model->load_transformer(rank.context, static_cast<int>(which),
                                                             std::move(with)));
      }
      return synchronize(rank.context);
    }));
  }
  return {};
}

// Of the hungriest pass. It never shrinks, as that of a GPU where sessions are kept.
Status Pipeline::Impl::reserve_ranks(const PicturePlan& plan) {
  for (const auto& each : ranks) {
    RankDevice& rank = *each;
    size_t bytes = 0;
    for (const StepSize at : {StepSize::kFull, StepSize::kHalf}) {
      if (at == StepSize::kHalf && plan.sampling.half_steps == 0) continue;
      for (size_t which_pass = 0; which_pass < plan.sampling.passes.size(); ++which_pass) {
        if (team_of(which_pass) != rank.team) continue;
        const Pass& pass = plan.sampling.passes[which_pass];
        PassSize size = plan.pass_size(pass, at);
        size.split = split_of(rank.team, rank.rank);
        const auto which = static_cast<size_t>(pass.transformer);
        bytes = std::max(bytes, rank.transformers[which]->scratch_bytes(rank.context, size,
                                                                        plan.step_count(at)));
      }
    }
    if (bytes <= rank.arena.capacity()) continue;
    rank.arena = Arena();
    INTAGLIO_TRY(on_device(rank.context, context, [&]() -> Status {
      INTAGLIO_ASSIGN(AlignedBuffer block, allocate(rank.context, bytes));
      rank.arena = Arena(std::move(block));
      return {};
    }));
  }
  return {};
}

// The ranks of each pass, and the features of texts that they read, which are sent by way of the
// host, once a text and rank.
Expected<std::vector<AlignedBuffer>> Pipeline::Impl::add_ranks(const PicturePlan& plan,
                                                               std::span<const Text> texts,
                                                               SamplerInputs& inputs) const {
  std::vector<AlignedBuffer> sent;
  if (ranks.empty()) return sent;
  std::vector<std::vector<float>> features(texts.size());
  for (size_t i = 0; i < texts.size(); ++i) {
    if (texts[i].rows != nullptr) continue;
    INTAGLIO_ASSIGN(features[i], on_host(texts[i].features));
  }
  for (const auto& rank : ranks) {
    std::vector<const float*> of_text(texts.size());
    for (size_t i = 0; i < inputs.passes.size(); ++i) {
      if (team_of(i) != rank->team) continue;
      const Pass& pass = plan.sampling.passes[i];
      SamplerRank input{
          .context = &rank->context,
          .transformer = rank->transformers[static_cast<size_t>(pass.transformer)].get()};
      if (pass.text != Pass::kNoText) {
        const auto which = static_cast<size_t>(pass.text);
        const Text& read = texts[which];
        if (of_text[which] == nullptr && !features[which].empty()) {
          INTAGLIO_ASSIGN(sent.emplace_back(), on_device(rank->context, context, [&] {
                            return upload(rank->context, features[which]);
                          }));
          of_text[which] = sent.back().as<float>();
        }
        input.text = {.tokens = static_cast<int64_t>(read.ids.size()),
                      .features = of_text[which],
                      .rows = read.rows ? read.rows->data() : nullptr};
      }
      inputs.passes[i].ranks.push_back(input);
    }
  }
  return sent;
}

// As Pipeline::Impl::take_adapters, which has dropped the recordings.
void Pipeline::Impl::take_rank_adapters() {
  for (const auto& rank : ranks) {
    const bool keeps = std::all_of(
        rank->transformers.begin(), rank->transformers.end(), [&](const auto& transformer) {
          return transformer == nullptr || transformer->keeps_weights(options.adapters);
        });
    for (std::unique_ptr<Transformer>& transformer : rank->transformers) {
      if (transformer == nullptr) continue;
      if (keeps) {
        transformer->take_adapters(rank->context, options.adapters);
      } else {
        transformer.reset();
      }
    }
    if (!keeps) rank->streamer.reset();
  }
}

}  // namespace intaglio
