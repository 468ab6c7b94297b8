// The second GPU of a pipeline: it has the transformer of the second pass, and runs nothing else.
#include "core/memory.h"
#include "pipeline/pipeline_impl.h"

namespace intaglio {

Status check_second_gpu(const ModelInfo& model, const PipelineOptions& options) {
  if (!options.second_gpu) return {};
  if (!options.gpu)
    return make_error(ErrorCode::kInvalidArgument,
                      "devices: expected GPUs alone, found the CPU and cuda:{}",
                      *options.second_gpu);
  if (options.vram_budget > 0)
    return make_error(ErrorCode::kInvalidArgument,
                      "devices: cuda:{} and cuda:{} take no VRAM budget: layers do not stream to "
                      "two GPUs, each keeps the weights of its pass",
                      *options.gpu, *options.second_gpu);
  if (!model.unguided_reason.empty())
    return make_error(ErrorCode::kInvalidArgument,
                      "devices: nothing to do for cuda:{}: {} {}, so it has one pass a step",
                      *options.second_gpu, model.name, model.unguided_reason);
  return {};
}

Status Pipeline::Impl::open_second() {
  const auto opened = open_device(options.second_gpu, options.threads);
  INTAGLIO_TRY(make_current(context));
  if (!opened) return tl::unexpected<Error>(opened.error());
  second = std::make_unique<SecondDevice>();
  second->stream = opened->stream;
  second->context = opened->context;
  second->context.scratch = &second->arena;
  return on_device(second->context, context, [&]() -> Status {
    INTAGLIO_TRY(options.selection.check_device(second->context));
    INTAGLIO_TRY(options.attention.check_device(second->context));
    INTAGLIO_ASSIGN(second->memory_limit, memory_limit_of(second->context, options));
    return {};
  });
}

void Pipeline::Impl::stop_on(const std::atomic<bool>* cancel) {
  context.cancel = cancel;
  if (second != nullptr) second->context.cancel = cancel;
  for (const auto& rank : ranks) rank->context.cancel = cancel;
}

Status Pipeline::Impl::check_passes(const PicturePlan& plan) const {
  if (second == nullptr || plan.sampling.passes.size() == kAwayPass + 1) return {};
  return make_error(ErrorCode::kInvalidArgument,
                    "devices: nothing to do for cuda:{}: the picture has {} pass a step; expected "
                    "guidance, which takes two",
                    second->context.gpu->ordinal, plan.sampling.passes.size());
}

Expected<MemoryPlan> Pipeline::Impl::plan_second_memory(const PicturePlan& p) const {
  const Context& away = second->context;
  auto plan = on_device(away, context, [&]() -> Expected<MemoryPlan> {
    PlannedPicture picture = planned_picture(p);
    picture.split = split_of(team_of(kAwayPass));
    INTAGLIO_TRY(check_shared_pass(p, kAwayPass, away, picture.split));
    INTAGLIO_ASSIGN(const MemoryNeeds needs,
                    away_needs(away, *model, transformer_options(), picture));
    return plan_memory(needs, {.bytes = second->memory_limit});
  });
  if (!plan) return memory_error(p, away, plan.error());
  return plan;
}

Status Pipeline::Impl::load_second(const PicturePlan& plan) {
  const Context& away = second->context;
  return on_device(away, context, [&]() -> Status {
    if (second->transformer != nullptr) return second->transformer->make_branches(away);
    const MemoryPlan& memory = *plan.second_memory;
    if (memory.slots > 0) {
      INTAGLIO_ASSIGN(second->streamer,
                      WeightStreamer::make(away, memory.slots, memory.slot_bytes));
    }
    TransformerOptions with = transformer_options();
    with.streamer = second->streamer;
    INTAGLIO_ASSIGN(second->transformer,
                    model->load_transformer(away, plan.sampling.passes[kAwayPass].transformer,
                                            std::move(with)));
    return synchronize(away);
  });
}

// Of the pass there. It never shrinks, as that of a GPU where sessions are kept.
Status Pipeline::Impl::reserve_second(size_t bytes) {
  Arena& arena = second->arena;
  if (bytes <= arena.capacity()) return {};
  arena = Arena();
  return on_device(second->context, context, [&]() -> Status {
    INTAGLIO_ASSIGN(AlignedBuffer block, allocate(second->context, bytes));
    arena = Arena(std::move(block));
    return {};
  });
}

void Pipeline::Impl::drop_second() {
  drop_samplers();  // its recordings refer to the transformer
  second->transformer.reset();
  second->streamer.reset();
  second->arena = Arena();
}

// By way of the host, once a text.
Expected<AlignedBuffer> Pipeline::Impl::send_features(const Text& text) const {
  INTAGLIO_ASSIGN(const std::vector<float> features, on_host(text.features));
  return on_device(second->context, context, [&] { return upload(second->context, features); });
}

}  // namespace intaglio
