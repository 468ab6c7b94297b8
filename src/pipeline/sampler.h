// The sampling loop of one picture on a device: two transformers, guidance, Euler steps. On a GPU the passes of a step are recorded once and replayed.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "core/aligned_buffer.h"
#include "core/context.h"
#include "core/recording.h"
#include "core/side_stream.h"
#include "core/status.h"
#include "models/ideogram4/transformer.h"

namespace intaglio {

struct SamplerInputs {
  const ideogram4::Transformer* conditional = nullptr;
  const ideogram4::Transformer* unconditional = nullptr;  // nullptr: no guidance
  ideogram4::TextInput text;  // not read any more once `prepare` is done
  int64_t grid_h = 0, grid_w = 0;
  std::span<const float> times;  // model time of every step
  // Bytes of context.scratch, beside what a pass takes, in which the unconditional pass runs at the same time as the conditional one, on a stream of its
  // own. 0, and on a CPU: one after the other. Layers that stream share their slots, so 0 then too.
  size_t beside_bytes = 0;
};

class Sampler {
 public:
  // Makes everything ready for a picture. What the last one left is used again: its memory where sizes are the same, its recordings where all that they
  // refer to is at the same place. The transformers and the context outlive the sampler; context.scratch has room for a pass of each and stays as it is
  // until the picture's last step. A sampler that this fails on is good for nothing but another call.
  Status prepare(const Context& context, const SamplerInputs& inputs);

  // Of the picture at work: ideogram4::Transformer::text_rows.
  Expected<std::vector<float>> text_rows(const Context& context) const {
    return state_->inputs.conditional->text_rows(context, state_->with_text);
  }

  // Host memory, [image_tokens, channels].
  Status set_latents(const Context& context, std::span<const float> latents);
  Status get_latents(const Context& context, std::span<float> latents) const;

  // Latents of step + 1 from those of `step`; delta: sigma of the next step minus that of this one. On a GPU the work is only given to it.
  Status step(const Context& context, int64_t step, float guidance, float delta);
  // Waits for the step and says what of it holds an Inf or a NaN: bits of EulerStep::not_finite, 0 where all is well.
  Expected<uint32_t> finish_step(const Context& context) const;

 private:
  // What the passes read and write, at a place of its own: recordings refer to it.
  struct State {
    SamplerInputs inputs;
    ideogram4::TransformerSession with_text, without_text;
    AlignedBuffer x, velocity, unguided;  // F32 [image_tokens, channels]
    AlignedBuffer not_finite;             // a word, EulerStep::not_finite of the step at work
    std::unique_ptr<SideStream> side;
  };
  // Where a recording found what it refers to.
  struct Places {
    const ideogram4::Transformer *conditional = nullptr, *unconditional = nullptr;
    uint64_t with_text = 0, without_text = 0;  // ideogram4::TransformerSession::placement()
    const void* scratch = nullptr;
    const void* x = nullptr;
    size_t beside_bytes = 0;
    bool operator==(const Places&) const = default;
  };
  void make_recordings(const Context& context);
  static Status run_both(const Context& context, State& state);
  static Status run_beside(const Context& context, State& state, size_t bytes);

  std::shared_ptr<State> state_ = std::make_shared<State>();
  int64_t values_ = 0;
  Places places_;
  std::optional<Recording> plain_, guided_;  // the passes of a step without and with guidance
};

}  // namespace intaglio
