#include "pipeline/memory_plan.h"

#include <algorithm>
#include <numeric>
#include <set>

#include "core/memory_info.h"
#include "models/parts/weight_streaming.h"

namespace intaglio {
namespace {

// Blocks of the device are rounded up to so much at most.
constexpr uint64_t kGranule = uint64_t{2} << 20;
constexpr uint64_t kSessionBlocks = 6;  // of a TransformerSession
// Tokens up to which both passes of a step take less time beside each other than one after the
// other (docs/kernels/whole_pass.md, H100): a small pass leaves the card idle at its kernels' ends,
// a large one fills it.
constexpr int64_t kMostTokensBeside = 2048;
constexpr int64_t kMostTokens = int64_t{1} << 26;  // of a picture; beyond that products overflow

uint64_t sum_of(const std::vector<uint64_t>& bytes) {
  return std::accumulate(bytes.begin(), bytes.end(), uint64_t{0});
}

uint64_t room_left(uint64_t limit, uint64_t taken) { return limit > taken ? limit - taken : 0; }

// The transformers of a plan together.
struct AllTransformers {
  uint64_t fixed = 0, layers = 0, once = 0, largest_layer = 0, largest_once = 0, staging = 0;

  explicit AllTransformers(const MemoryNeeds& n) {
    for (const std::optional<ModelWeights>& w : n.transformers) {
      if (!w) continue;
      fixed += w->fixed_bytes;
      layers += w->all_layers();
      once += sum_of(w->once_bytes);
      largest_layer = std::max(largest_layer, w->largest_layer());
      largest_once = std::max(largest_once, w->largest_once());
      staging = std::max(staging, w->staging_bytes);
    }
  }
  // Linears of a layer that streams are made on the device as well, one at a time.
  uint64_t staging_of(bool streams) const { return streams ? staging + largest_layer : staging; }
};

// What the transformers find taken in the phase that leaves them least.
uint64_t beside_transformers(const MemoryNeeds& n, uint64_t staging) {
  const uint64_t load = n.features + staging;
  const uint64_t encode = n.features + n.encoder_weights + n.encoder_scratch;
  const uint64_t prepare = n.features + n.sessions + n.transformer_scratch;
  return n.vae_weights + std::max({load, encode, prepare, n.vae_scratch});
}

tl::unexpected<Error> refuse(uint64_t needed, const MemoryLimits& limits) {
  return make_error(ErrorCode::kOutOfMemory,
                    "needs {} of memory ({} bytes), {} ({} bytes) is available",
                    format_bytes(needed), needed, format_bytes(limits.bytes), limits.bytes);
}

// Shares `left` bytes among the layers of the transformers by their sizes. Each gets what those
// before it leave of their shares, too.
void share_layers(const MemoryNeeds& n, uint64_t left, MemoryPlan& plan) {
  uint64_t layers = AllTransformers(n).layers;
  for (size_t i = 0; i < n.transformers.size(); ++i) {
    if (!n.transformers[i]) continue;
    const ModelWeights& weights = *n.transformers[i];
    const double part = static_cast<double>(weights.all_layers()) / static_cast<double>(layers);
    // A budget of 0 would mean all of them.
    plan.budgets[i] =
        std::max<uint64_t>(1, static_cast<uint64_t>(static_cast<double>(left) * part));
    const StreamingChoice choice = choose_streamed(weights.layer_bytes, *plan.budgets[i]);
    left = room_left(left, choice.resident_bytes);
    layers -= weights.all_layers();
    plan.streamed_bytes += choice.streamed_bytes;
    plan.pinned_bytes += choice.streamed_bytes;
    plan.transformer_bytes += choice.resident_bytes;
  }
}

Status place_transformers(const MemoryNeeds& n, const MemoryLimits& limits, MemoryPlan& plan) {
  const AllTransformers all(n);
  for (const std::optional<ModelWeights>& weights : n.transformers)
    plan.budgets.push_back(weights ? std::optional<uint64_t>(0) : std::nullopt);
  const uint64_t beside = beside_transformers(n, all.staging_of(false));
  plan.slot_bytes = all.largest_once;
  plan.slots = plan.slot_bytes > 0 ? kStreamSlots : 0;
  plan.pinned_bytes = all.once;
  plan.transformer_room = room_left(limits.bytes, beside);
  plan.transformer_bytes = all.fixed + all.layers + plan.slots * plan.slot_bytes;
  if (plan.transformer_bytes <= plan.transformer_room) return {};
  if (!limits.stream) return refuse(plan.transformer_bytes + beside, limits);
  plan.streams = true;
  plan.slots = kStreamSlots;
  plan.slot_bytes = std::max(plan.slot_bytes, all.largest_layer);
  const uint64_t streaming = beside_transformers(n, all.staging_of(true));
  plan.transformer_room = room_left(limits.bytes, streaming);
  plan.transformer_bytes = all.fixed + plan.slots * plan.slot_bytes;
  if (plan.transformer_bytes > plan.transformer_room) {
    return make_error(ErrorCode::kOutOfMemory,
                      "needs at least {} of memory ({} bytes) even if all layers stream: {} of "
                      "weights that stay, {} slots of {}, {} for activations and the VAE; {} ({} "
                      "bytes) is available",
                      format_bytes(plan.transformer_bytes + streaming),
                      plan.transformer_bytes + streaming, format_bytes(all.fixed), plan.slots,
                      format_bytes(plan.slot_bytes), format_bytes(streaming),
                      format_bytes(limits.bytes), limits.bytes);
  }
  share_layers(n, plan.transformer_room - plan.transformer_bytes, plan);
  return {};
}

// The text encoder comes first, when nothing else is loaded.
Status place_text(const MemoryNeeds& n, const MemoryLimits& limits, MemoryPlan& plan) {
  const uint64_t all = n.text.fixed_bytes + n.text.all_layers();
  const uint64_t beside = n.features + n.text_scratch;
  INTAGLIO_ASSIGN(const uint64_t budget,
                  text_weight_budget(n.text, room_left(limits.bytes, beside),
                                     limits.stream || limits.text_by_layers));
  plan.text_phase = beside + n.text.staging_bytes +
                    (budget == 0 ? all : n.text.fixed_bytes + budget + n.text.largest_layer());
  plan.keep_text = false;
  if (budget != 0 || plan.streams) return {};
  // Later prompts are read while everything is loaded.
  const uint64_t later = plan.transformer_bytes + n.vae_weights + beside;
  const uint64_t phases = std::max({later, plan.load_phase, plan.encode_phase, plan.prepare_phase,
                                    plan.denoise_phase, plan.decode_phase});
  if (all + phases > limits.bytes) return {};
  plan.keep_text = true;
  plan.text_phase = std::max(plan.text_phase, all + later);
  for (uint64_t* phase :
       {&plan.load_phase, &plan.prepare_phase, &plan.denoise_phase, &plan.decode_phase})
    *phase += all;
  if (plan.encode_phase > 0) plan.encode_phase += all;
  return {};
}

// Sessions and recorded passes stay where they are if one arena for all phases fits beside them. It
// goes when a text encoder that was dropped comes back.
void place_sessions(const MemoryNeeds& n, const MemoryLimits& limits, MemoryPlan& plan) {
  const uint64_t text = plan.keep_text ? n.text.fixed_bytes + n.text.all_layers() : 0;
  const uint64_t one_stream = std::max({plan.keep_text ? n.text_scratch : 0, n.encoder_scratch,
                                        n.transformer_scratch, n.vae_scratch});
  const uint64_t two_streams = std::max(one_stream, n.transformer_scratch + n.beside_scratch);
  const uint64_t others = plan.transformer_bytes + n.vae_weights + text + n.sessions + n.features;
  // The encoder comes while an earlier picture's sessions are kept.
  const uint64_t most = others + n.encoder_weights;
  if (!n.records || plan.streams || most + one_stream > limits.bytes) return;
  const bool two = n.beside_scratch > 0 && most + two_streams <= limits.bytes;
  const uint64_t scratch = two ? two_streams : one_stream;
  const uint64_t kept = others - n.features + scratch;
  if (two) plan.beside_scratch = n.beside_scratch;
  plan.kept_scratch = scratch;
  plan.prepare_phase = kept + n.features;
  if (n.encoder_scratch > 0) plan.encode_phase = plan.prepare_phase + n.encoder_weights;
  plan.denoise_phase = plan.decode_phase = kept;
  if (plan.keep_text) plan.text_phase = std::max(plan.text_phase, kept + n.features);
}

}  // namespace

uint64_t MemoryPlan::peak_bytes() const {
  return std::max(
      {text_phase, load_phase, encode_phase, prepare_phase, denoise_phase, decode_phase});
}

Expected<MemoryPlan> plan_memory(const MemoryNeeds& n, const MemoryLimits& limits) {
  MemoryPlan plan;
  INTAGLIO_TRY(place_transformers(n, limits, plan));
  const uint64_t weights = plan.transformer_bytes + n.vae_weights;
  plan.load_phase = weights + n.features + AllTransformers(n).staging_of(plan.streams);
  if (n.encoder_scratch > 0)
    plan.encode_phase = weights + n.features + n.encoder_weights + n.encoder_scratch;
  plan.prepare_phase = weights + n.features + n.sessions + n.transformer_scratch;
  plan.denoise_phase = weights + n.sessions + n.transformer_scratch;
  plan.decode_phase = weights + n.vae_scratch;
  INTAGLIO_TRY(place_text(n, limits, plan));
  place_sessions(n, limits, plan);
  return plan;
}

uint64_t least_resident_bytes(const MemoryNeeds& n) {
  const AllTransformers all(n);
  const uint64_t transformers = all.fixed + all.layers + kStreamSlots * all.largest_once;
  const uint64_t text = n.text.fixed_bytes + n.text.all_layers() + n.text.staging_bytes;
  return std::max(transformers + beside_transformers(n, all.staging_of(false)),
                  text + n.features + n.text_scratch);
}

Expected<uint64_t> text_weight_budget(const ModelWeights& text, uint64_t room, bool stream) {
  const uint64_t all = text.fixed_bytes + text.all_layers() + text.staging_bytes;
  if (all <= room) return 0;
  const uint64_t least = text.fixed_bytes + text.largest_layer() + text.staging_bytes;
  if (!stream || least > room) {
    return make_error(ErrorCode::kOutOfMemory,
                      "the text encoder needs {} of memory ({} bytes), {} ({} bytes) is available",
                      format_bytes(stream ? least : all), stream ? least : all, format_bytes(room),
                      room);
  }
  return std::max<uint64_t>(1, room - least);
}

ModelWeights weights_on_cpu(ModelWeights weights) {
  weights.fixed_bytes += sum_of(weights.once_bytes);
  weights.once_bytes.clear();
  return weights;
}

namespace {

ModelWeights weights_on(const Context& context, ModelWeights weights) {
  return context.gpu == nullptr ? weights_on_cpu(std::move(weights)) : weights;
}

// Velocities that a pass keeps from step to step because of a mask.
uint64_t estimate_bytes(const StepMask& mask, size_t pass, uint64_t velocity_bytes) {
  const bool predicts = mask.uses(pass, PassWork::kPredict);
  const uint64_t earlier = predicts ? static_cast<uint64_t>(mask.order) : 0;
  const uint64_t estimates = predicts || mask.uses(pass, PassWork::kReuse) ? 1 : 0;
  return (earlier + estimates) * (velocity_bytes + kGranule);
}

// What its transformer keeps because of one.
Expected<uint64_t> residual_bytes(const StepMask& mask, size_t pass, const Transformer& transformer,
                                  const PassSize& size) {
  if (!mask.uses(pass, PassWork::kReuse)) return 0;
  if (mask.first_blocks >= transformer.cached_blocks())
    return make_error(ErrorCode::kInvalidArgument,
                      "cache: the mask \"{}\" computes {} blocks of a reused pass, which has {}",
                      mask.name, mask.first_blocks, transformer.cached_blocks());
  return static_cast<uint64_t>(transformer.residual_values(size)) * sizeof(float) + kGranule;
}

// Of latents or a velocity.
uint64_t latent_bytes(const Model& model, const PassSize& size) {
  return static_cast<uint64_t>(size.image_tokens() * model.info().latent_channels) * sizeof(float);
}

// Of a pass, on the device where steps are taken.
uint64_t velocity_needs(const Model& model, const PlannedPicture& p, size_t pass,
                        const PassSize& size) {
  const uint64_t velocity = latent_bytes(model, size);
  return velocity + kGranule + (p.mask == nullptr ? 0 : estimate_bytes(*p.mask, pass, velocity));
}

// Of a pass, on the device that it runs on: its session and what a mask keeps there.
Expected<uint64_t> session_needs(const Transformer& transformer, const PlannedPicture& p,
                                 size_t pass, const PassSize& size, int64_t steps) {
  // The first pass of a transformer keeps the modulations that the others read (Sampler).
  const bool shares_steps =
      p.away != pass && p.alone != pass &&
      std::any_of(
          p.passes.begin(), p.passes.begin() + static_cast<std::ptrdiff_t>(pass),
          [&](const Pass& earlier) { return earlier.transformer == p.passes[pass].transformer; });
  const uint64_t bytes =
      transformer.session_bytes(size, steps, shares_steps) + kSessionBlocks * kGranule;
  if (p.mask == nullptr) return bytes;
  INTAGLIO_ASSIGN(const uint64_t of_mask, residual_bytes(*p.mask, pass, transformer, size));
  return bytes + of_mask;
}

PassSize pass_size(const PlannedPicture& p, const Pass& pass) {
  return {
      .text_tokens = pass.text == Pass::kNoText ? 0 : p.text_tokens[static_cast<size_t>(pass.text)],
      .grid_h = p.grid_h,
      .grid_w = p.grid_w,
      .split = p.split};
}

// Of a pass at half the grid in each direction.
PassSize half_size(PassSize size) {
  size.grid_h /= 2;
  size.grid_w /= 2;
  return size;
}

// Activations and session of a pass on the device that it runs on, at both sizes of steps.
Status add_pass(const Context& context, const Transformer& transformer, const PlannedPicture& p,
                size_t pass, MemoryNeeds& needs) {
  const PassSize size = pass_size(p, p.passes[pass]);
  const auto add = [&](const PassSize& at, int64_t steps) -> Status {
    needs.transformer_scratch = std::max<uint64_t>(needs.transformer_scratch,
                                                   transformer.scratch_bytes(context, at, steps));
    INTAGLIO_ASSIGN(const uint64_t session, session_needs(transformer, p, pass, at, steps));
    needs.sessions += session;
    return {};
  };
  INTAGLIO_TRY(add(size, p.steps));
  return p.half_steps == 0 ? Status() : add(half_size(size), p.half_steps);
}

// Weights, activations and sessions of the transformers.
Status add_transformers(const Context& context, const Model& model,
                        const TransformerOptions& options, const PlannedPicture& p,
                        MemoryNeeds& needs) {
  const auto count = static_cast<size_t>(model.transformers());
  std::vector<std::unique_ptr<Transformer>> described(count);
  needs.transformers.resize(count);
  const auto describe = [&](size_t which) -> Status {
    if (needs.transformers[which]) return {};
    described[which] = model.transformer(static_cast<int>(which), options);
    needs.transformers[which] = weights_on(context, described[which]->module_weights());
    return described[which]->describe(context);
  };
  for (size_t i = 0; i < p.kept.size(); ++i)
    if (p.kept[i]) INTAGLIO_TRY(describe(i));
  const int64_t image_tokens = p.grid_h * p.grid_w;
  uint64_t last_scratch = 0;
  for (size_t i = 0; i < p.passes.size(); ++i) {
    if (p.alone && *p.alone != i) continue;
    const Pass& pass = p.passes[i];
    const PassSize size = pass_size(p, pass);
    needs.sessions += velocity_needs(model, p, i, size);
    if (p.half_steps > 0) needs.sessions += velocity_needs(model, p, i, half_size(size));
    if (p.away == i) continue;
    const auto which = static_cast<size_t>(pass.transformer);
    INTAGLIO_TRY(describe(which));
    const Transformer& transformer = *described[which];
    last_scratch = transformer.scratch_bytes(context, size, p.steps);
    INTAGLIO_TRY(add_pass(context, transformer, p, i, needs));
  }
  const int64_t most_text = *std::max_element(p.text_tokens.begin(), p.text_tokens.end());
  if (needs.records && p.passes.size() == 2 && !p.away && p.split.ranks == 1 &&
      most_text + image_tokens <= kMostTokensBeside)
    needs.beside_scratch = last_scratch;
  return {};
}

}  // namespace

Expected<MemoryNeeds> picture_needs(const Context& context, const Model& model,
                                    const TransformerOptions& options, const PlannedPicture& p) {
  if (p.grid_h > kMostTokens / p.grid_w) {
    return make_error(ErrorCode::kOutOfMemory,
                      "needs more memory than any device has: {} x {} tokens, at most {}", p.grid_h,
                      p.grid_w, kMostTokens);
  }
  const LayerSelection& selection = options.selection;
  const qwen3::TextEncoderConfig& text_config = model.text_config();
  MemoryNeeds needs;
  needs.records = context.gpu != nullptr;
  needs.text = qwen3::text_encoder_weights(text_config, selection);
  INTAGLIO_ASSIGN(const qwen3::TextEncoder text,
                  qwen3::TextEncoder::describe(context, text_config, selection));
  for (const int64_t tokens : p.text_tokens) {
    needs.text_scratch =
        std::max<uint64_t>(needs.text_scratch, text.scratch_bytes(context, tokens));
    needs.features += static_cast<uint64_t>(tokens * text_config.feature_dim()) * sizeof(float);
  }
  INTAGLIO_TRY(add_transformers(context, model, options, p, needs));
  // The latents themselves.
  const int64_t latents = p.grid_h * p.grid_w * model.info().latent_channels;
  needs.sessions += static_cast<uint64_t>(latents) * sizeof(float) + kGranule;
  if (p.half_steps > 0)
    needs.sessions += static_cast<uint64_t>(latents / 4) * sizeof(float) + kGranule;
  const DType vae_dtype = autoencoder::Decoder::compute_dtype(context, selection);
  const autoencoder::DecoderConfig& vae = model.vae_config();
  const int64_t pixels = model.info().pixels_per_token;
  needs.vae_weights = autoencoder::decoder_weight_bytes(vae, vae_dtype);
  needs.vae_scratch = autoencoder::Decoder::planned_bytes(context, vae, vae_dtype,
                                                          p.grid_h * pixels, p.grid_w * pixels);
  if (p.encodes) {
    needs.encoder_weights = autoencoder::encoder_weight_bytes(vae, vae_dtype);
    needs.encoder_scratch = autoencoder::Encoder::planned_bytes(
        context, vae, vae_dtype, p.grid_h * pixels, p.grid_w * pixels);
  }
  // On a CPU the arena never shrinks: fresh pages cost more than they save.
  if (context.gpu == nullptr) {
    const uint64_t most = std::max(
        {needs.text_scratch, needs.encoder_scratch, needs.transformer_scratch, needs.vae_scratch});
    if (p.encodes) needs.encoder_scratch = most;
    needs.text_scratch = needs.transformer_scratch = needs.vae_scratch = most;
  }
  return needs;
}

Expected<MemoryNeeds> away_needs(const Context& context, const Model& model,
                                 const TransformerOptions& options, const PlannedPicture& p) {
  const Pass& pass = p.passes[*p.away];
  const PassSize size = pass_size(p, pass);
  const std::unique_ptr<Transformer> transformer = model.transformer(pass.transformer, options);
  MemoryNeeds needs;
  needs.records = context.gpu != nullptr;
  needs.transformers.resize(static_cast<size_t>(model.transformers()));
  needs.transformers[static_cast<size_t>(pass.transformer)] =
      weights_on(context, transformer->module_weights());
  INTAGLIO_TRY(transformer->describe(context));
  INTAGLIO_TRY(add_pass(context, *transformer, p, *p.away, needs));
  needs.features =
      static_cast<uint64_t>(size.text_tokens * model.text_config().feature_dim()) * sizeof(float);
  // The latents that come, the velocity that goes (PassAway).
  needs.sessions += 2 * (latent_bytes(model, size) + kGranule);
  if (p.half_steps > 0) needs.sessions += 2 * (latent_bytes(model, half_size(size)) + kGranule);
  return needs;
}

Expected<MemoryNeeds> rank_needs(const Context& context, const Model& model,
                                 const TransformerOptions& options, const PlannedPicture& p) {
  MemoryNeeds needs;
  needs.records = context.gpu != nullptr;
  // Velocities of the passes, as on the first device, are those that go (PassAway).
  INTAGLIO_TRY(add_transformers(context, model, options, p, needs));
  std::set<int> texts;  // that its passes read
  for (size_t i = 0; i < p.passes.size(); ++i) {
    if (p.alone && *p.alone != i) continue;
    const PassSize size = pass_size(p, p.passes[i]);
    if (texts.insert(p.passes[i].text).second)
      needs.features +=
          static_cast<uint64_t>(size.text_tokens * model.text_config().feature_dim()) *
          sizeof(float);
    // The latents that come.
    needs.sessions += latent_bytes(model, size) + kGranule;
    if (p.half_steps > 0) needs.sessions += latent_bytes(model, half_size(size)) + kGranule;
  }
  return needs;
}

Expected<MemoryNeeds> guided_picture_needs(const Context& context, const Model& model,
                                           const TransformerOptions& options, const PassSize& size,
                                           int64_t steps) {
  PlannedPicture picture{.passes = {{.transformer = 0, .text = 0}},
                         .text_tokens = {size.text_tokens},
                         .grid_h = size.grid_h,
                         .grid_w = size.grid_w,
                         .steps = steps};
  if (model.transformers() > 1) {
    picture.passes.push_back({.transformer = model.transformers() - 1});
  } else {
    picture.passes.push_back({.transformer = 0, .text = 1});
    picture.text_tokens.push_back(size.text_tokens);
  }
  return picture_needs(context, model, options, picture);
}

}  // namespace intaglio
