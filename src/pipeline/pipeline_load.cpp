// Models and activations of a pipeline: what is loaded, what goes to make room.
#include <algorithm>

#include "core/memory.h"
#include "pipeline/pipeline_impl.h"

namespace intaglio {

// On a CPU, and on a GPU where sessions are kept, the arena never shrinks, so a series of pictures allocates once. Else it is as large as the phase asks
// for: the rest has other uses.
Status Pipeline::Impl::reserve(size_t bytes) {
  bytes = std::max<size_t>(bytes, kept_scratch);
  const bool fits = bytes <= arena.capacity();
  const bool may_be_larger = context.gpu == nullptr || kept_scratch > 0;
  if (fits && (may_be_larger || bytes == arena.capacity())) return {};
  arena = Arena();  // give the old block back first
  INTAGLIO_ASSIGN(AlignedBuffer block, allocate(context, bytes));
  arena = Arena(std::move(block));
  return {};
}

// For a prompt of `tokens`. The transformers go if even a layer at a time does not fit beside them.
Status Pipeline::Impl::load_text_encoder(int64_t tokens) {
  if (text_encoder && text_encoder->keeps_all_layers()) return {};
  text_encoder.reset();
  drop_activations();
  const LayerSelection& selection = options.selection;
  INTAGLIO_ASSIGN(const qwen3::TextEncoder described,
                  qwen3::TextEncoder::describe(context, source->text_config(), selection));
  const ModelWeights weights = qwen3::text_encoder_weights(source->text_config(), selection);
  const auto budget = [&]() -> Expected<uint64_t> {
    uint64_t taken =
        described.scratch_bytes(context, tokens) +
        static_cast<uint64_t>(tokens * source->text_config().feature_dim()) * sizeof(float);
    if (conditional) taken += placed.transformer_bytes;
    if (vae) taken += vae_weight_bytes(source->vae_config(), vae_dtype());
    return text_weight_budget(weights, memory_limit - std::min(memory_limit, taken), streams());
  };
  Expected<uint64_t> bytes = budget();
  if (!bytes && conditional) {
    drop_transformers();
    bytes = budget();
  }
  INTAGLIO_ASSIGN(const uint64_t weight_budget, std::move(bytes));
  INTAGLIO_ASSIGN(text_encoder, source->load_text_encoder(context, selection, weight_budget));
  return {};
}

// A GPU has their memory free for weights.
void Pipeline::Impl::drop_activations() {
  if (context.gpu == nullptr) return;
  sampler = Sampler();
  arena = Arena();
}

void Pipeline::Impl::drop_transformers() {
  sampler = Sampler();  // its recordings refer to them
  conditional.reset();
  unconditional.reset();
  streamer.reset();
}

// The unconditional transformer comes to the other one, as it lies, only if that one keeps its place.
bool Pipeline::Impl::must_load_transformers(const MemoryPlan& plan) const {
  if (!conditional || placed.transformer_bytes > plan.transformer_room) return true;
  if (placed.has_unconditional == plan.has_unconditional) return false;
  return placed.has_unconditional || placed.streams || plan.streams ||
         placed.slot_bytes < plan.slot_bytes;
}

Status Pipeline::Impl::load_transformers(const MemoryPlan& plan, bool with_unconditional) {
  if (must_load_transformers(plan)) {
    drop_transformers();
    drop_activations();
    placed = plan;
    if (plan.slots > 0) {
      INTAGLIO_ASSIGN(streamer, WeightStreamer::make(context, plan.slots, plan.slot_bytes));
    }
    INTAGLIO_ASSIGN(conditional,
                    source->load_transformer(context, TransformerRole::kConditional,
                                             {.selection = options.selection,
                                              .with_text = true,
                                              .scores = options.scores,
                                              .weight_budget = placed.conditional_budget,
                                              .streamer = streamer}));
  }
  if (with_unconditional && !unconditional) {
    if (!placed.has_unconditional) {
      drop_activations();
      placed = plan;
    }
    INTAGLIO_ASSIGN(unconditional,
                    source->load_transformer(context, TransformerRole::kUnconditional,
                                             {.selection = options.selection,
                                              .with_text = false,
                                              .scores = options.scores,
                                              .weight_budget = placed.unconditional_budget,
                                              .streamer = streamer}));
  }
  return {};
}

Status Pipeline::Impl::load_vae() {
  if (vae) return {};
  INTAGLIO_ASSIGN(vae, source->load_vae(context, vae_dtype()));
  return {};
}

}  // namespace intaglio
