#include "pipeline/memory_plan.h"

#include <algorithm>
#include <numeric>

#include "core/memory_info.h"
#include "models/ideogram4/transformer.h"
#include "models/parts/weight_streaming.h"
#include "models/qwen3/text_encoder.h"

namespace intaglio {
namespace {

// Blocks of the device are rounded up to so much at most.
constexpr uint64_t kGranule = uint64_t{2} << 20;
constexpr uint64_t kSessionBlocks = 6;  // of an ideogram4::TransformerSession
// Tokens up to which both passes of a step take less time beside each other than one after the other (docs/kernels/whole_pass.md, H100): a small pass leaves the card
// idle at its kernels' ends, a large one fills it.
constexpr int64_t kMostTokensBeside = 2048;
constexpr int64_t kMostTokens = int64_t{1} << 26;  // of a picture; beyond that products overflow

uint64_t sum_of(const std::vector<uint64_t>& bytes) {
  return std::accumulate(bytes.begin(), bytes.end(), uint64_t{0});
}

uint64_t room_left(uint64_t limit, uint64_t taken) { return limit > taken ? limit - taken : 0; }

// What the transformers find taken in the phase that leaves them least.
uint64_t beside_transformers(const MemoryNeeds& n, uint64_t staging) {
  const uint64_t load = n.features + staging;
  const uint64_t prepare = n.features + n.sessions + n.transformer_scratch;
  return n.vae_weights + std::max({load, prepare, n.vae_scratch});
}

// Linears of a layer that streams are made on the device as well, one at a time.
uint64_t staging_of(const MemoryNeeds& n, bool streams) {
  const uint64_t staging = std::max(n.conditional.staging_bytes, n.unconditional.staging_bytes);
  const uint64_t layer = std::max(n.conditional.largest_layer(), n.unconditional.largest_layer());
  return streams ? staging + layer : staging;
}

tl::unexpected<Error> refuse(uint64_t needed, const MemoryLimits& limits) {
  return make_error(ErrorCode::kOutOfMemory,
                    "needs {} of memory ({} bytes), {} ({} bytes) is available",
                    format_bytes(needed), needed, format_bytes(limits.bytes), limits.bytes);
}

// Shares `left` bytes among the layers of both transformers. The second gets what the first leaves of its half.
void share_layers(const MemoryNeeds& n, uint64_t left, MemoryPlan& plan) {
  const uint64_t all = n.conditional.all_layers() + n.unconditional.all_layers();
  const double part = static_cast<double>(n.conditional.all_layers()) / static_cast<double>(all);
  // A budget of 0 would mean all of them.
  plan.conditional_budget =
      std::max<uint64_t>(1, static_cast<uint64_t>(static_cast<double>(left) * part));
  const StreamingChoice first = choose_streamed(n.conditional.layer_bytes, plan.conditional_budget);
  plan.unconditional_budget = std::max<uint64_t>(1, room_left(left, first.resident_bytes));
  const StreamingChoice second =
      choose_streamed(n.unconditional.layer_bytes, plan.unconditional_budget);
  plan.streamed_bytes = first.streamed_bytes + second.streamed_bytes;
  plan.pinned_bytes += plan.streamed_bytes;
  plan.transformer_bytes += first.resident_bytes + second.resident_bytes;
}

Status place_transformers(const MemoryNeeds& n, const MemoryLimits& limits, MemoryPlan& plan) {
  const uint64_t fixed = n.conditional.fixed_bytes + n.unconditional.fixed_bytes;
  const uint64_t layers = n.conditional.all_layers() + n.unconditional.all_layers();
  const uint64_t beside = beside_transformers(n, staging_of(n, false));
  plan.slot_bytes = std::max(n.conditional.largest_once(), n.unconditional.largest_once());
  plan.slots = plan.slot_bytes > 0 ? kStreamSlots : 0;
  plan.pinned_bytes = sum_of(n.conditional.once_bytes) + sum_of(n.unconditional.once_bytes);
  plan.transformer_room = room_left(limits.bytes, beside);
  plan.transformer_bytes = fixed + layers + plan.slots * plan.slot_bytes;
  if (plan.transformer_bytes <= plan.transformer_room) return {};
  if (!limits.stream) return refuse(plan.transformer_bytes + beside, limits);
  plan.streams = true;
  plan.slots = kStreamSlots;
  plan.slot_bytes =
      std::max({plan.slot_bytes, n.conditional.largest_layer(), n.unconditional.largest_layer()});
  const uint64_t streaming = beside_transformers(n, staging_of(n, true));
  plan.transformer_room = room_left(limits.bytes, streaming);
  plan.transformer_bytes = fixed + plan.slots * plan.slot_bytes;
  if (plan.transformer_bytes > plan.transformer_room) {
    return make_error(ErrorCode::kOutOfMemory,
                      "needs at least {} of memory ({} bytes) even if all layers stream: {} of "
                      "weights that stay, {} slots of {}, {} for activations and the VAE; {} ({} "
                      "bytes) is available",
                      format_bytes(plan.transformer_bytes + streaming),
                      plan.transformer_bytes + streaming, format_bytes(fixed), plan.slots,
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
                  text_weight_budget(n.text, room_left(limits.bytes, beside), limits.stream));
  plan.text_phase = beside + n.text.staging_bytes +
                    (budget == 0 ? all : n.text.fixed_bytes + budget + n.text.largest_layer());
  plan.keep_text = false;
  if (budget != 0 || plan.streams) return {};
  // Later prompts are read while everything is loaded.
  const uint64_t later = plan.transformer_bytes + n.vae_weights + beside;
  const uint64_t phases =
      std::max({later, plan.load_phase, plan.prepare_phase, plan.denoise_phase, plan.decode_phase});
  if (all + phases > limits.bytes) return {};
  plan.keep_text = true;
  plan.text_phase = std::max(plan.text_phase, all + later);
  for (uint64_t* phase :
       {&plan.load_phase, &plan.prepare_phase, &plan.denoise_phase, &plan.decode_phase}) {
    *phase += all;
  }
  return {};
}

// Sessions and recorded passes stay where they are if one arena for all phases fits beside them. It goes when a text encoder that was dropped comes back.
void place_sessions(const MemoryNeeds& n, const MemoryLimits& limits, MemoryPlan& plan) {
  const uint64_t text = plan.keep_text ? n.text.fixed_bytes + n.text.all_layers() : 0;
  const uint64_t one_stream =
      std::max({plan.keep_text ? n.text_scratch : 0, n.transformer_scratch, n.vae_scratch});
  const uint64_t two_streams = std::max(one_stream, n.transformer_scratch + n.beside_scratch);
  const uint64_t others = plan.transformer_bytes + n.vae_weights + text + n.sessions + n.features;
  if (!n.records || plan.streams || others + one_stream > limits.bytes) return;
  const bool two = n.beside_scratch > 0 && others + two_streams <= limits.bytes;
  const uint64_t scratch = two ? two_streams : one_stream;
  const uint64_t kept = others - n.features + scratch;
  if (two) plan.beside_scratch = n.beside_scratch;
  plan.kept_scratch = scratch;
  plan.prepare_phase = kept + n.features;
  plan.denoise_phase = plan.decode_phase = kept;
  if (plan.keep_text) plan.text_phase = std::max(plan.text_phase, kept + n.features);
}

}  // namespace

uint64_t MemoryPlan::peak_bytes() const {
  return std::max({text_phase, load_phase, prepare_phase, denoise_phase, decode_phase});
}

Expected<MemoryPlan> plan_memory(const MemoryNeeds& n, const MemoryLimits& limits) {
  MemoryPlan plan;
  plan.has_unconditional = n.has_unconditional;
  INTAGLIO_TRY(place_transformers(n, limits, plan));
  const uint64_t weights = plan.transformer_bytes + n.vae_weights;
  plan.load_phase = weights + n.features + staging_of(n, plan.streams);
  plan.prepare_phase = weights + n.features + n.sessions + n.transformer_scratch;
  plan.denoise_phase = weights + n.sessions + n.transformer_scratch;
  plan.decode_phase = weights + n.vae_scratch;
  INTAGLIO_TRY(place_text(n, limits, plan));
  place_sessions(n, limits, plan);
  return plan;
}

uint64_t least_resident_bytes(const MemoryNeeds& n) {
  const uint64_t slots =
      kStreamSlots * std::max(n.conditional.largest_once(), n.unconditional.largest_once());
  const uint64_t transformers = n.conditional.fixed_bytes + n.conditional.all_layers() +
                                n.unconditional.fixed_bytes + n.unconditional.all_layers() + slots;
  const uint64_t text = n.text.fixed_bytes + n.text.all_layers() + n.text.staging_bytes;
  return std::max(transformers + beside_transformers(n, staging_of(n, false)),
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

uint64_t vae_weight_bytes(const autoencoder::DecoderConfig& c, DType compute) {
  const auto resnet = [](int64_t in, int64_t out) {
    return 9 * (in * out + out * out) + (in == out ? 0 : in * out);
  };
  const int64_t widest = c.widths.back();
  int64_t values = 9 * c.latent_channels * widest + 2 * resnet(widest, widest);
  if (c.post_quant_conv) values += c.latent_channels * c.latent_channels;
  if (c.mid_attention) values += 4 * widest * widest;
  int64_t channels = widest;
  for (size_t i = c.widths.size(); i-- > 0;) {
    for (int64_t j = 0; j <= c.layers_per_block; ++j) {
      values += resnet(channels, c.widths[i]);
      channels = c.widths[i];
    }
    if (i > 0) values += 9 * channels * channels;
  }
  values += 9 * channels * 16;  // three output channels, padded
  // Packed weights are padded to whole tiles, norms and biases are small.
  return static_cast<uint64_t>(values) * dtype_size(compute) * 5 / 4;
}

namespace {

// Of one transformer's passes of a picture.
struct PassNeeds {
  ModelWeights weights;
  uint64_t scratch = 0;
  uint64_t session = 0;  // with its velocity
};

Expected<PassNeeds> pass_needs(const Context& context, const ideogram4::TransformerConfig& config,
                               const ideogram4::Transformer::LoadOptions& options,
                               const PlannedPicture& p) {
  const int64_t text_tokens = options.with_text ? p.text_tokens : 0;
  INTAGLIO_ASSIGN(const ideogram4::Transformer transformer,
                  ideogram4::Transformer::describe(context, config, options));
  PassNeeds needs;
  needs.weights = ideogram4::transformer_weights(config, options.selection, options.with_text);
  if (context.gpu == nullptr) needs.weights = weights_on_cpu(std::move(needs.weights));
  needs.scratch = transformer.scratch_bytes(context, text_tokens, p.grid_h, p.grid_w, p.steps);
  const int64_t velocity = p.grid_h * p.grid_w * config.channels;
  needs.session = transformer.session_bytes(text_tokens, p.grid_h, p.grid_w, p.steps) +
                  static_cast<uint64_t>(velocity) * sizeof(float) + (kSessionBlocks + 1) * kGranule;
  return needs;
}

}  // namespace

Expected<MemoryNeeds> picture_needs(const Context& context, const PlannedModels& models,
                                    const PlannedPicture& p) {
  if (p.grid_h > kMostTokens / p.grid_w) {
    return make_error(ErrorCode::kOutOfMemory,
                      "needs more memory than any device has: {} x {} tokens, at most {}", p.grid_h,
                      p.grid_w, kMostTokens);
  }
  const LayerSelection& selection = models.selection;
  MemoryNeeds needs;
  needs.text = qwen3::text_encoder_weights(models.text, selection);
  INTAGLIO_ASSIGN(const qwen3::TextEncoder text,
                  qwen3::TextEncoder::describe(context, models.text, selection));
  needs.text_scratch = text.scratch_bytes(context, p.text_tokens);
  needs.records = context.gpu != nullptr;
  needs.has_unconditional = models.unconditional.has_value();
  INTAGLIO_ASSIGN(const PassNeeds conditional,
                  pass_needs(context, models.conditional, {.selection = selection}, p));
  needs.conditional = conditional.weights;
  needs.transformer_scratch = conditional.scratch;
  needs.sessions = conditional.session;
  if (models.unconditional) {
    INTAGLIO_ASSIGN(const PassNeeds unconditional,
                    pass_needs(context, *models.unconditional,
                               {.selection = selection, .with_text = false}, p));
    needs.unconditional = unconditional.weights;
    needs.transformer_scratch = std::max(needs.transformer_scratch, unconditional.scratch);
    needs.sessions += unconditional.session;
    if (needs.records && p.text_tokens + p.grid_h * p.grid_w <= kMostTokensBeside)
      needs.beside_scratch = unconditional.scratch;
  }
  // The latents themselves.
  const int64_t latents = p.grid_h * p.grid_w * models.conditional.channels;
  needs.sessions += static_cast<uint64_t>(latents) * sizeof(float) + kGranule;
  needs.features = static_cast<uint64_t>(p.text_tokens * models.text.feature_dim()) * sizeof(float);
  const DType vae_dtype = autoencoder::Decoder::compute_dtype(context, selection);
  const int64_t pixels = 2 * models.vae.scale_factor();
  needs.vae_weights = vae_weight_bytes(models.vae, vae_dtype);
  needs.vae_scratch = autoencoder::Decoder::planned_bytes(context, models.vae, vae_dtype,
                                                          p.grid_h * pixels, p.grid_w * pixels);
  // On a CPU the arena never shrinks: fresh pages cost more than they save.
  if (context.gpu == nullptr) {
    const uint64_t most =
        std::max({needs.text_scratch, needs.transformer_scratch, needs.vae_scratch});
    needs.text_scratch = needs.transformer_scratch = needs.vae_scratch = most;
  }
  return needs;
}

}  // namespace intaglio
