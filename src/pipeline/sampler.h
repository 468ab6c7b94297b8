// The sampling loop of one picture on a device: the passes of a step, their weighted sum, Euler
// steps. On a GPU the passes of a step are recorded once and replayed.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "core/aligned_buffer.h"
#include "core/context.h"
#include "core/recording.h"
#include "core/side_stream.h"
#include "core/status.h"
#include "models/model.h"

namespace intaglio {

struct SamplerPass {
  const Transformer* transformer = nullptr;
  TextInput text{};  // not read any more once `prepare` is done
};

struct SamplerInputs {
  std::vector<SamplerPass> passes;  // at most kMaxPasses
  int64_t grid_h = 0, grid_w = 0;
  std::span<const float> times;  // model time of every step
  float velocity_limit = 0.0f;   // of Sampling
  // Bytes of context.scratch, beside what a pass takes, in which the second of two passes runs at
  // the same time as the first, on a stream of its own. 0, and on a CPU: one after the other.
  // Layers that stream share their slots, so 0 then too.
  size_t beside_bytes = 0;
};

class Sampler {
 public:
  // Makes everything ready for a picture. What the last one left is used again: its memory where
  // sizes are the same, its recordings where all that they refer to is at the same place. The
  // transformers and the context outlive the sampler; context.scratch has room for each pass and
  // stays as it is until the picture's last step. A sampler that this fails on is good for nothing
  // but another call.
  Status prepare(const Context& context, const SamplerInputs& inputs);

  // Of a pass of the picture at work: Transformer::text_rows.
  Expected<std::vector<float>> text_rows(const Context& context, size_t pass) const {
    return state_->inputs.passes[pass].transformer->text_rows(context, state_->sessions[pass]);
  }

  // Host memory, [image_tokens, channels].
  Status set_latents(const Context& context, std::span<const float> latents);
  Status get_latents(const Context& context, std::span<float> latents) const;

  // Latents of step + 1 from those of `step`; passes of weight 0 are not run. On a GPU the work is
  // only given to it.
  Status step(const Context& context, int64_t step, const SamplingStep& settings);
  // Waits for the step and says what of it holds an Inf or a NaN: bit i for the velocity of pass i,
  // kLatentsNotFinite; 0 where all is well.
  Expected<uint32_t> finish_step(const Context& context) const;

 private:
  // What the passes read and write, at a place of its own: recordings refer to it.
  struct State {
    SamplerInputs inputs;
    std::vector<TransformerSession> sessions;  // of each pass
    std::vector<AlignedBuffer> velocities;     // of each pass, F32 [image_tokens, channels]
    AlignedBuffer x;                           // F32 [image_tokens, channels]
    AlignedBuffer not_finite;                  // a word, EulerStep::not_finite of the step at work
    AlignedBuffer factor;                      // F32, of the velocity, if it is limited
    std::unique_ptr<SideStream> side;
  };
  // Where a recording found what it refers to.
  struct Places {
    std::vector<std::pair<const Transformer*, uint64_t>> passes;  // TransformerSession::placement()
    const void* scratch = nullptr;
    const void* x = nullptr;
    size_t beside_bytes = 0;
    bool operator==(const Places&) const = default;
  };
  Status hold_latents(const Context& context, const SamplerInputs& inputs);
  Recording& recording_of(const Context& context, uint32_t passes);
  static Status run_passes(const Context& context, State& state, uint32_t passes);
  static Status run_beside(const Context& context, State& state);
  static Status run_pass(const Context& context, State& state, size_t pass);

  std::shared_ptr<State> state_ = std::make_shared<State>();
  int64_t values_ = 0;
  std::vector<size_t> ran_;  // passes of the step at work
  Places places_;
  // By the passes they run, a bit each.
  std::vector<std::pair<uint32_t, std::unique_ptr<Recording>>> recordings_;
};

}  // namespace intaglio
