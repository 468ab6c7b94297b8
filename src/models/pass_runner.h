// The passes of a model, one at a time, for those who look at what happens inside: calibration,
// comparisons. Pictures for people come from a pipeline, which plans memory and records.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/arena.h"
#include "core/context.h"
#include "core/status.h"
#include "models/model.h"

namespace intaglio {

class PassRunner {
 public:
  // A picture's texts and steps.
  struct Texts {
    std::vector<std::vector<int32_t>> ids;
    std::vector<std::vector<float>> features;  // of each
    Sampling sampling;
    int64_t grid_h = 0, grid_w = 0;  // image tokens
  };
  // A picture at work.
  struct Picture {
    const Texts* texts = nullptr;
    std::vector<TransformerSession> sessions;    // of each pass
    std::vector<std::vector<float>> velocities;  // of each pass, [tokens, channels], host memory
  };

  // `model` and what `context` refers to outlive it; it has scratch memory of its own.
  PassRunner(const Context& context, const Model& model, TransformerOptions options);

  // Loads the text encoder, reads the requests' texts with it, drops it, and loads the
  // transformers. kInvalidArgument for sizes that do not divide and steps that the model cannot
  // have.
  Expected<std::vector<Texts>> load(std::span<const PictureRequest> requests);

  const Model& model() const { return model_; }
  const Context& context() const { return context_; }
  // By their number; empty before `load`.
  std::span<const std::unique_ptr<Transformer>> transformers() const { return transformers_; }

  // A picture of the steps whose model times are `times`.
  Expected<Picture> prepare(const Texts& texts, std::span<const float> times);
  // One of its passes again.
  Status prepare_pass(Picture& picture, size_t pass, std::span<const float> times);
  // The velocity of a pass at `latents`, [tokens, channels] in host memory, for step `step` of
  // `times`: goes to Picture::velocities.
  Status forward(Picture& picture, size_t pass, int64_t step, std::span<const float> latents);

 private:
  Expected<Texts> plan(const PictureRequest& request) const;
  Status encode(const qwen3::TextEncoder& encoder, Texts& texts);
  Status reserve(size_t bytes);
  const Transformer& transformer(const Texts& texts, size_t pass) const;

  Context context_;
  // Of the scratch memory; at a place of its own, as the context refers to it.
  std::unique_ptr<Arena> arena_ = std::make_unique<Arena>();
  const Model& model_;
  TransformerOptions options_;
  std::vector<std::unique_ptr<Transformer>> transformers_;
};

// The model's times of all steps.
std::vector<float> times_of(const Sampling& sampling);

}  // namespace intaglio
