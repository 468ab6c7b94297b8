// What a picture takes of a device's memory, phase by phase, and what must stream or be dropped for it to fit: decided before any weight is read.
//
//   text      the text encoder, its activations, the features it makes (the transformers too, once they are loaded)
//   load      the transformers, one tensor on its way to them
//   prepare   the transformers, features, sessions, activations
//   denoise   the transformers, sessions, activations
//   decode    the transformers, the VAE, its activations
// The transformers and the VAE stay loaded from one picture to the next. If there is room the text encoder does, and so do the sessions with the recorded
// passes, in which case activations come from one arena as large as the hungriest phase asks for; else the arena is as large as the phase at hand asks for. Both
// passes of a step of a small picture then run at the same time.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "core/context.h"
#include "core/status.h"
#include "models/autoencoder/decoder.h"
#include "models/ideogram4/config.h"
#include "models/parts/modules.h"
#include "models/parts/selection.h"
#include "models/qwen3/config.h"

namespace intaglio {

struct MemoryNeeds {
  ModelWeights text, conditional;
  ModelWeights unconditional;  // nothing where the picture has no unconditional passes
  bool has_unconditional = true;
  uint64_t vae_weights = 0;
  uint64_t text_scratch = 0, transformer_scratch = 0, vae_scratch = 0;
  uint64_t beside_scratch =
      0;  // of the unconditional pass, if it runs at the same time as the other one
  uint64_t features = 0;
  uint64_t sessions = 0;  // of both transformers, with latents and velocities
  bool records = false;   // on a GPU: passes are recorded, and worth keeping
};

struct MemoryLimits {
  uint64_t bytes = 0;   // of the device's memory
  bool stream = false;  // whether layers may stream to stay within them
};

struct MemoryPlan {
  bool has_unconditional = true;  // whether there is room for it in the plan
  bool keep_text = true;  // beside the transformers; false: dropped once the features are made
  // Bytes of the layers of each transformer that stay on the device (ideogram4::Transformer::LoadOptions::weight_budget). 0: all.
  uint64_t conditional_budget = 0, unconditional_budget = 0;
  bool streams = false;                // whether any layer does
  uint64_t slots = 0, slot_bytes = 0;  // that weights are copied into from host memory
  uint64_t pinned_bytes = 0;           // of host memory, those weights
  uint64_t streamed_bytes = 0;         // of them, what both passes of a step copy
  uint64_t transformer_bytes = 0;      // weights on the device and slots
  uint64_t transformer_room = 0;       // what they may take at most
  uint64_t kept_scratch = 0;  // bytes of the one arena if sessions are kept; 0: they are not
  uint64_t beside_scratch =
      0;  // of it, for an unconditional pass beside the conditional one; 0: one after the other

  uint64_t text_phase = 0, load_phase = 0, prepare_phase = 0, denoise_phase = 0, decode_phase = 0;
  uint64_t peak_bytes() const;
};

// kOutOfMemory with what is needed at least and what there is.
Expected<MemoryPlan> plan_memory(const MemoryNeeds& needs, const MemoryLimits& limits);

// The least bytes with which no layer streams.
uint64_t least_resident_bytes(const MemoryNeeds& needs);

// Bytes of the text encoder's layers that may stay on the device if it is given `room` bytes for its weights; 0: all. kOutOfMemory if not even a layer at a
// time fits, or not all of them where `limits.stream` is false.
Expected<uint64_t> text_weight_budget(const ModelWeights& text, uint64_t room, bool stream);

// On a CPU all weights are fixed.
ModelWeights weights_on_cpu(ModelWeights weights);
uint64_t vae_weight_bytes(const autoencoder::DecoderConfig& config, DType compute);

// Parts as their own configs say: no two of them need to be of one size.
struct PlannedModels {
  ideogram4::TransformerConfig conditional;
  // nullopt: the model has none, or the picture does not need it; nothing is planned for it.
  std::optional<ideogram4::TransformerConfig> unconditional;
  qwen3::TextEncoderConfig text;
  autoencoder::DecoderConfig vae;
  LayerSelection selection;
};
struct PlannedPicture {
  int64_t text_tokens = 0, grid_h = 0, grid_w = 0, steps = 0;
};
// Activations as the models' own plans say for the context's device. kOutOfMemory for pictures beyond all measure.
Expected<MemoryNeeds> picture_needs(const Context& context, const PlannedModels& models,
                                    const PlannedPicture& picture);

}  // namespace intaglio
