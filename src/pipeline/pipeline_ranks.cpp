// The GPUs that share every pass of a pipeline's pictures: each has all transformers, and computes
// a part of the rows.
#include <algorithm>

#include "core/memory.h"
#include "pipeline/pipeline_impl.h"

namespace intaglio {

Status check_rank_gpus(const PipelineOptions& options) {
  if (options.rank_gpus.empty()) return {};
  if (!options.gpu || options.second_gpu)
    return make_error(ErrorCode::kInvalidArgument,
                      "devices: GPUs that share passes: expected another GPU beside them, and none "
                      "that runs a pass of its own");
  if (options.vram_budget > 0)
    return make_error(ErrorCode::kInvalidArgument,
                      "devices: {} GPUs that share passes take no VRAM budget: layers do not "
                      "stream to several GPUs, each keeps all weights",
                      options.rank_gpus.size() + 1);
  return {};
}

Status Pipeline::Impl::open_ranks() {
  std::vector<const Context*> contexts{&context};
  for (const int gpu : options.rank_gpus) {
    const auto opened = open_device(gpu, options.threads);
    INTAGLIO_TRY(make_current(context));
    if (!opened) return tl::unexpected<Error>(opened.error());
    RankDevice& rank = *ranks.emplace_back(std::make_unique<RankDevice>());
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
    contexts.push_back(&rank.context);
  }
  INTAGLIO_ASSIGN(group, make_collective_group(contexts));
  return {};
}

Expected<std::vector<MemoryPlan>> Pipeline::Impl::plan_rank_memory(const PicturePlan& p) const {
  std::vector<MemoryPlan> plans;
  for (size_t i = 0; i < ranks.size(); ++i) {
    const RankDevice& rank = *ranks[i];
    PlannedPicture picture = planned_picture(p);
    picture.split = split_of(i + 1);
    const auto plan = on_device(rank.context, context, [&]() -> Expected<MemoryPlan> {
      for (const Pass& pass : picture.passes) {
        const PassSize size{
            .text_tokens = pass.text == Pass::kNoText
                               ? 0
                               : picture.text_tokens[static_cast<size_t>(pass.text)],
            .grid_h = p.grid_h,
            .grid_w = p.grid_w,
            .split = picture.split};
        INTAGLIO_TRY(model->transformer(pass.transformer, {})->check_split(rank.context, size));
      }
      const auto make = [&]() -> Expected<MemoryPlan> {
        INTAGLIO_ASSIGN(const MemoryNeeds needs,
                        rank_needs(rank.context, *model, transformer_options(), picture));
        return plan_memory(needs, {.bytes = rank.memory_limit});
      };
      // What an earlier picture loaded may stay if it fits.
      for (const auto& transformer : rank.transformers)
        picture.kept.push_back(transformer != nullptr);
      Expected<MemoryPlan> all = make();
      if (all) return all;
      picture.kept.clear();
      return make();
    });
    if (!plan) return memory_error(p, rank.context, plan.error());
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
  for (size_t i = 0; i < ranks.size(); ++i) {
    RankDevice& rank = *ranks[i];
    size_t bytes = 0;
    for (const StepSize at : {StepSize::kFull, StepSize::kHalf}) {
      if (at == StepSize::kHalf && plan.sampling.half_steps == 0) continue;
      for (const Pass& pass : plan.sampling.passes) {
        PassSize size = plan.pass_size(pass, at);
        size.split = split_of(i + 1);
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
    for (size_t i = 0; i < texts.size(); ++i) {
      if (features[i].empty()) continue;
      INTAGLIO_ASSIGN(AlignedBuffer buffer, on_device(rank->context, context, [&] {
                        return upload(rank->context, features[i]);
                      }));
      of_text[i] = buffer.as<float>();
      sent.push_back(std::move(buffer));
    }
    for (size_t i = 0; i < inputs.passes.size(); ++i) {
      const Pass& pass = plan.sampling.passes[i];
      SamplerRank input{
          .context = &rank->context,
          .transformer = rank->transformers[static_cast<size_t>(pass.transformer)].get()};
      if (pass.text != Pass::kNoText) {
        const auto which = static_cast<size_t>(pass.text);
        const Text& read = texts[which];
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
