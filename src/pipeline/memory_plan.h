// What a picture takes of a device's memory, phase by phase, and what must stream or be dropped for
// it to fit: decided before any weight is read.
//
//   text      the text encoder, its activations, the features it makes (the transformers too, once they are loaded)
//   load      the transformers, one tensor on its way to them
//   encode    the transformers, features, the VAE's encoder, its activations: of a picture that begins from another
//   prepare   the transformers, features, sessions, activations
//   denoise   the transformers, sessions, activations
//   decode    the transformers, the VAE, its activations
// The transformers and the VAE stay loaded from one picture to the next. If there is room the text
// encoder does, and so do the sessions with the recorded passes, in which case activations come
// from one arena as large as the hungriest phase asks for; else the arena is as large as the phase
// at hand asks for. Both passes of a step of a small picture then run at the same time.
//
// A second GPU, where the second pass of each step runs, has a plan of its own: the transformer of
// that pass, its session and its activations. So has each GPU that shares passes: their
// transformers, and the activations of its rows.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "core/context.h"
#include "core/status.h"
#include "models/model.h"

namespace intaglio {

struct MemoryNeeds {
  ModelWeights text;
  // By their number; nullopt: the picture has no pass of it.
  std::vector<std::optional<ModelWeights>> transformers;
  uint64_t vae_weights = 0;
  uint64_t encoder_weights = 0, encoder_scratch = 0;  // 0: the picture begins from noise alone
  uint64_t text_scratch = 0, transformer_scratch = 0, vae_scratch = 0;
  // Of the second of two passes, if it runs at the same time as the first.
  uint64_t beside_scratch = 0;
  uint64_t features = 0;  // of all texts
  uint64_t sessions = 0;  // of all passes, with latents and velocities
  bool records = false;   // on a GPU: passes are recorded, and worth keeping
};

struct MemoryLimits {
  uint64_t bytes = 0;   // of the device's memory
  bool stream = false;  // whether layers may stream to stay within them
  // Whether those of the text encoder may be read one at a time, if they do not all fit.
  bool text_by_layers = false;
};

struct MemoryPlan {
  bool keep_text = true;  // beside the transformers; false: dropped once the features are made
  // Bytes of the layers of each transformer that stay on the device
  // (TransformerOptions::weight_budget), 0: all; nullopt: there is no room for it in the plan.
  std::vector<std::optional<uint64_t>> budgets;
  bool streams = false;                // whether any layer does
  uint64_t slots = 0, slot_bytes = 0;  // that weights are copied into from host memory
  uint64_t pinned_bytes = 0;           // of host memory, those weights
  uint64_t streamed_bytes = 0;         // of them, what the passes of a step copy
  uint64_t transformer_bytes = 0;      // weights on the device and slots
  uint64_t transformer_room = 0;       // what they may take at most
  uint64_t kept_scratch = 0;    // bytes of the one arena if sessions are kept; 0: they are not
  uint64_t beside_scratch = 0;  // of it, for a pass beside another; 0: one after the other

  uint64_t text_phase = 0, load_phase = 0, encode_phase = 0, prepare_phase = 0, denoise_phase = 0,
           decode_phase = 0;
  uint64_t peak_bytes() const;
};

// kOutOfMemory with what is needed at least and what there is.
Expected<MemoryPlan> plan_memory(const MemoryNeeds& needs, const MemoryLimits& limits);

// The least bytes with which no layer streams.
uint64_t least_resident_bytes(const MemoryNeeds& needs);

// Bytes of the text encoder's layers that may stay on the device if it is given `room` bytes for
// its weights; 0: all. kOutOfMemory if not even a layer at a time fits, or not all of them where
// `limits.stream` is false.
Expected<uint64_t> text_weight_budget(const ModelWeights& text, uint64_t room, bool stream);

// On a CPU all weights are fixed.
ModelWeights weights_on_cpu(ModelWeights weights);

// What is to be drawn, as far as memory is concerned.
struct PlannedPicture {
  std::vector<Pass> passes;
  std::vector<int64_t> text_tokens;  // of each text
  int64_t grid_h = 0, grid_w = 0, steps = 0;
  // Transformers that have their place in the plan though no pass runs them.
  std::vector<bool> kept = {};
  const StepMask* mask = nullptr;   // of the request
  int64_t half_steps = 0;           // of the steps, at half the grid in each direction
  bool encodes = false;             // whether it begins from another picture
  std::optional<size_t> away = {};  // of the passes, the one that runs on another device
  // Of the passes, the only one that is planned, of a device that shares it; nullopt: all.
  std::optional<size_t> alone = {};
  RowSplit split = {};  // of each pass: the part that is planned
};
// Activations as the model's own plans say for the context's device. kOutOfMemory for pictures
// beyond all measure, kInvalidArgument for a mask that reuses more blocks than a pass has.
Expected<MemoryNeeds> picture_needs(const Context& context, const Model& model,
                                    const TransformerOptions& options,
                                    const PlannedPicture& picture);

// Of the device that `picture.away` runs on.
Expected<MemoryNeeds> away_needs(const Context& context, const Model& model,
                                 const TransformerOptions& options, const PlannedPicture& picture);

// Of a device that shares passes, `picture.split` being its part, and is not the first of them.
Expected<MemoryNeeds> rank_needs(const Context& context, const Model& model,
                                 const TransformerOptions& options, const PlannedPicture& picture);

// Of a guided picture, whose passes are of the first transformer and of the last; where these are
// one it reads a second text, as long as the first.
Expected<MemoryNeeds> guided_picture_needs(const Context& context, const Model& model,
                                           const TransformerOptions& options, const PassSize& size,
                                           int64_t steps);

}  // namespace intaglio
