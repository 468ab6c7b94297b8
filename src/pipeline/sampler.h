// The sampling loop of one picture on a device: the passes of a step, their weighted sum, Euler
// steps. On a GPU the passes of a step are recorded once and replayed; a mask takes one recording
// for each combination of what its passes do. A pass may run on another GPU, beside the others.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "core/aligned_buffer.h"
#include "core/collective.h"
#include "core/context.h"
#include "core/recording.h"
#include "core/side_stream.h"
#include "core/status.h"
#include "models/model.h"
#include "models/step_mask.h"
#include "ops/euler_step.h"
#include "pipeline/device_tasks.h"
#include "pipeline/pass_away.h"

namespace intaglio {

// One of the GPUs that share a pass with the one that it runs on, where its transformer and its
// text are; its context is as SamplerPass::away.
struct SamplerRank {
  const Context* context = nullptr;
  const Transformer* transformer = nullptr;
  TextInput text{};
};

struct SamplerPass {
  const Transformer* transformer = nullptr;
  TextInput text{};  // not read any more once `prepare` is done
  // Of another GPU, whose memory the transformer and the text are in; nullptr: the sampler's own.
  // It outlives the sampler, and its scratch is as the sampler's own is.
  const Context* away = nullptr;
  // Of the GPUs that share the pass, the one that it runs on being rank 0; it outlives the picture.
  // Such a pass is not recorded: the ranks' threads wait for each other in every layer. Passes of
  // one group run on one GPU.
  CollectiveGroup* group = nullptr;
  std::vector<SamplerRank> ranks{};  // rank 1 on
};

struct SamplerInputs {
  std::vector<SamplerPass> passes;  // at most kMaxPasses
  int64_t grid_h = 0, grid_w = 0;
  std::span<const float> times;    // model time of every step
  float velocity_limit = 0.0f;     // of Sampling
  bool matches_norms = false;      // of Sampling
  const StepMask* mask = nullptr;  // nullptr: every pass is computed; outlives the picture
  // Bytes of context.scratch, beside what a pass takes, in which the second of two passes runs at
  // the same time as the first, on a stream of its own. 0, and on a CPU: one after the other.
  // Layers that stream share their slots, so 0 then too, and with a pass that is away.
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
  Expected<std::vector<float>> text_rows(const Context& context, size_t pass) const;

  // Host memory, [image_tokens, channels].
  Status set_latents(const Context& context, std::span<const float> latents);
  Status get_latents(const Context& context, std::span<float> latents) const;

  // Latents of step + 1 from those of `step`; passes of weight 0 are not run, nor are those that
  // the mask predicts. Steps follow one another. On a GPU the work is only given to it.
  Status step(const Context& context, int64_t step, const SamplingStep& settings);
  // Waits for the step and says what of it holds an Inf or a NaN: bit i for the velocity of pass i,
  // kLatentsNotFinite; 0 where all is well.
  Expected<uint32_t> finish_step(const Context& context) const;

 private:
  // What a rank beside the sampler's own has of a pass.
  struct RankState {
    PassAway io;
    TransformerSession session;
    AlignedBuffer residual;
  };
  // A pass of the picture at work. Its velocities are of the sampler's device, the session and
  // BlockCache::residual of the one that it runs on.
  struct PassState {
    TransformerSession session;
    AlignedBuffer velocity;  // F32 [image_tokens, channels], the last computed one
    // With a mask: computed before that one, the newest first; what takes the place of a computed
    // one; BlockCache::residual.
    std::vector<AlignedBuffer> earlier;
    AlignedBuffer estimate, residual;
    std::vector<int64_t> computed;   // steps of `velocity` and `earlier`
    std::unique_ptr<PassAway> away;  // nullptr: it runs on the sampler's device
    std::vector<std::unique_ptr<RankState>> ranks;
  };
  // What the passes read and write, at a place of its own: recordings refer to it.
  struct State {
    ~State() { wait_for_away(); }  // they read what goes with it
    void wait_for_away() const;
    bool has_others() const;  // devices that a pass, or a part of one, runs on
    std::vector<CollectiveGroup*> groups(std::span<const size_t> passes) const;  // each once
    SamplerInputs inputs;
    Context home;                   // of the step at work
    std::atomic<bool> stop{false};  // `cancel` of all contexts of a step on several devices
    int64_t first_blocks = 0;       // of the mask
    std::vector<PassState> passes;
    AlignedBuffer x;           // F32 [image_tokens, channels]
    AlignedBuffer not_finite;  // a word, EulerStep::not_finite of the step at work
    AlignedBuffer factor;      // F32, of the velocity or of each of its rows, if it is scaled
    std::unique_ptr<SideStream> side;
  };
  // Where a recording found what it refers to.
  struct Places {
    std::vector<std::pair<const Transformer*, uint64_t>> passes;  // TransformerSession::placement()
    std::vector<const void*> buffers;
    size_t beside_bytes = 0;
    int64_t first_blocks = 0;
    bool operator==(const Places&) const = default;
  };
  // What a recorded pass does, a number of two bits for each.
  enum Work : uint32_t { kNothing, kForward, kForwardAndKeep, kFirstBlocks };
  static constexpr uint32_t kWorkBits = 2, kWorkMask = 3;
  Expected<const float*> scale_velocity(const Context& context,
                                        std::span<const WeightedVelocity> velocities) const;
  static Work work_of(uint32_t works, size_t pass) {
    return static_cast<Work>(works >> (kWorkBits * pass) & kWorkMask);
  }
  static uint32_t works_of(size_t pass, uint32_t work) { return work << (kWorkBits * pass); }

  Status hold_latents(const Context& context, const SamplerInputs& inputs);
  Status hold_estimates(const Context& context, const SamplerInputs& inputs, size_t pass);
  Status prepare_pass(const Context& context, const SamplerInputs& inputs, size_t pass);
  Status prepare_rank(const Context& context, const SamplerInputs& inputs, size_t pass,
                      size_t rank);
  void share_steps(const SamplerInputs& inputs);
  Places places_of(const Context& context) const;
  Recording& recording_of(const Context& context, uint32_t works);
  const Context& context_of(const Context& context, size_t pass) const;
  Status give_step(const Context& context, int64_t step, const SamplingStep& settings);
  Status run_works(const Context& context, uint32_t works);
  Status run_on_several(std::span<const size_t> passes, uint32_t works);
  std::vector<DeviceTask> tasks_alone(std::span<const size_t> passes, uint32_t works);
  std::vector<DeviceTask> tasks_of_group(std::vector<size_t> passes, uint32_t works);
  Status receive_velocity(size_t pass, Work work) const;
  Expected<Work> begin_pass(const Context& context, size_t pass, int64_t step);
  Status predict(const Context& context, size_t pass, int64_t step) const;
  static Status keep_velocity(const Context& context, PassState& pass, int64_t step);
  static Status run_passes(const Context& context, State& state, uint32_t works);
  static Status run_beside(const Context& context, State& state, uint32_t works);
  static Status run_pass(const Context& context, State& state, size_t pass, Work work);
  static BlockCache cache_of(const State& state, const AlignedBuffer& residual, Work work);

  std::shared_ptr<State> state_ = std::make_shared<State>();
  int64_t values_ = 0;
  std::vector<float> times_;  // of the picture at work
  std::vector<size_t> ran_;   // passes of the step at work
  Places places_;
  // By what they run.
  std::vector<std::pair<uint32_t, std::unique_ptr<Recording>>> recordings_;
};

}  // namespace intaglio
