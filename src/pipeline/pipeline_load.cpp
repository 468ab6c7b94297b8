// Models and activations of a pipeline: what is loaded, what goes to make room.
#include <algorithm>

#include "core/memory.h"
#include "pipeline/pipeline_impl.h"

namespace intaglio {

// On a CPU, and on a GPU where sessions are kept, the arena never shrinks, so a series of pictures
// allocates once. Else it is as large as the phase asks for: the rest has other uses.
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

// For texts of `longest` tokens at most, `all` together. The transformers go if even a layer at a
// time does not fit beside them.
Status Pipeline::Impl::load_text_encoder(int64_t longest, int64_t all) {
  if (text_encoder && text_encoder->keeps_all_layers()) return {};
  text_encoder.reset();
  drop_activations();
  const LayerSelection& selection = options.selection;
  INTAGLIO_ASSIGN(const qwen3::TextEncoder described,
                  qwen3::TextEncoder::describe(context, model->text_config(), selection));
  const ModelWeights weights = qwen3::text_encoder_weights(model->text_config(), selection);
  const auto budget = [&]() -> Expected<uint64_t> {
    uint64_t taken =
        described.scratch_bytes(context, longest) +
        static_cast<uint64_t>(all * model->text_config().feature_dim()) * sizeof(float);
    if (any_transformer()) taken += placed.transformer_bytes;
    if (vae) taken += autoencoder::decoder_weight_bytes(model->vae_config(), vae_dtype());
    return text_weight_budget(weights, memory_limit - std::min(memory_limit, taken),
                              streams() || has_other_devices());
  };
  Expected<uint64_t> bytes = budget();
  if (!bytes && any_transformer()) {
    drop_transformers();
    bytes = budget();
  }
  INTAGLIO_ASSIGN(const uint64_t weight_budget, std::move(bytes));
  INTAGLIO_ASSIGN(text_encoder, model->load_text_encoder(context, selection, weight_budget));
  return {};
}

void Pipeline::Impl::drop_samplers() {
  sampler = Sampler();
  half_sampler = Sampler();
}

// A GPU has their memory free for weights.
void Pipeline::Impl::drop_activations() {
  if (context.gpu == nullptr) return;
  drop_samplers();
  arena = Arena();
}

std::vector<bool> Pipeline::Impl::loaded() const {
  std::vector<bool> loaded;
  for (const auto& transformer : transformers) loaded.push_back(transformer != nullptr);
  return loaded;
}

bool Pipeline::Impl::any_transformer() const {
  return std::any_of(transformers.begin(), transformers.end(),
                     [](const auto& transformer) { return transformer != nullptr; });
}

void Pipeline::Impl::drop_transformers() {
  drop_samplers();  // its recordings refer to them
  for (std::unique_ptr<Transformer>& transformer : transformers) transformer.reset();
  streamer.reset();
}

// What recordings and kept texts were made with is no more. The branches are made when the next
// picture has planned their memory.
void Pipeline::Impl::take_adapters(std::vector<AdapterUse> adapters) {
  if (adapters == options.adapters) return;
  const TransformerOptions before = transformer_options();
  options.adapters = std::move(adapters);
  kept_texts.clear();
  drop_samplers();
  const auto keeps_weights = [&](const std::unique_ptr<Transformer>& t) {
    return t == nullptr || t->keeps_weights(options.adapters);
  };
  if (second != nullptr && second->transformer != nullptr) {
    if (keeps_weights(second->transformer)) {
      second->transformer->take_adapters(second->context, options.adapters);
    } else {
      drop_second();
    }
  }
  take_rank_adapters();
  if (!std::all_of(transformers.begin(), transformers.end(), keeps_weights))
    return drop_transformers();
  for (size_t i = 0; i < transformers.size(); ++i) {
    if (i >= placed.budgets.size() || !placed.budgets[i]) continue;
    const auto fixed_bytes = [&](const TransformerOptions& with) {
      return model->transformer(static_cast<int>(i), with)->module_weights().fixed_bytes;
    };
    placed.transformer_bytes += fixed_bytes(transformer_options()) - fixed_bytes(before);
    if (transformers[i] != nullptr) transformers[i]->take_adapters(context, options.adapters);
  }
}

// Another transformer comes to those that lie there only if these keep their places.
bool Pipeline::Impl::must_load_transformers(const MemoryPlan& plan) const {
  if (!any_transformer() || placed.transformer_bytes > plan.transformer_room) return true;
  bool more = false;
  for (size_t i = 0; i < transformers.size(); ++i) {
    const bool has = placed.budgets[i].has_value();
    if (has && !plan.budgets[i]) return true;
    more = more || (!has && plan.budgets[i]);
  }
  return more && (placed.streams || plan.streams || placed.slot_bytes < plan.slot_bytes);
}

Status Pipeline::Impl::load_transformers(const PicturePlan& plan) {
  const MemoryPlan& memory = plan.memory;
  if (must_load_transformers(memory)) {
    drop_transformers();
    drop_activations();
    placed = memory;
    if (memory.slots > 0) {
      INTAGLIO_ASSIGN(streamer, WeightStreamer::make(context, memory.slots, memory.slot_bytes));
    }
  }
  for (size_t i = 0; i < plan.sampling.passes.size(); ++i) {
    if (is_away(i)) {
      INTAGLIO_TRY(load_second(plan));
      continue;
    }
    const Pass& pass = plan.sampling.passes[i];
    const auto which = static_cast<size_t>(pass.transformer);
    if (transformers[which] != nullptr) {
      INTAGLIO_TRY(transformers[which]->make_branches(context));
      continue;
    }
    if (!placed.budgets[which]) {
      drop_activations();
      placed = memory;
    }
    TransformerOptions with = transformer_options();
    with.weight_budget = *placed.budgets[which];
    with.streamer = streamer;
    INTAGLIO_ASSIGN(transformers[which],
                    model->load_transformer(context, pass.transformer, std::move(with)));
  }
  return load_ranks(plan);
}

Status Pipeline::Impl::load_vae() {
  if (vae) return {};
  INTAGLIO_ASSIGN(vae, model->load_vae(context, vae_dtype()));
  return {};
}

}  // namespace intaglio
