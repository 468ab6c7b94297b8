// A prompt becomes a picture: text features, sampling, VAE.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/context.h"
#include "core/profile.h"
#include "core/status.h"
#include "io/png.h"
#include "models/attention_choice.h"
#include "models/model.h"
#include "pipeline/device.h"
#include "pipeline/memory_plan.h"

namespace intaglio {

struct PipelineOptions {
  LayerSelection selection{};
  std::optional<int> gpu{};  // ordinal; nullopt: the CPU
  // Another one, with a GPU: the second pass of each step runs there beside the first, with a copy
  // of its weights (docs/several-cards.md). Not with a VRAM budget. The same ordinal once more is
  // for tests: its memory is then planned twice.
  std::optional<int> second_gpu{};
  // Others, with a GPU: the rows of the passes that run on it are split over it and them, each with
  // a copy of the transformers. Not with a VRAM budget.
  std::vector<int> rank_gpus{};
  // The same of the pass that runs on the second GPU.
  std::vector<int> second_rank_gpus{};
  AttentionChoice attention{};  // of the transformers
  int threads = 0;              // 0: as many as the process may run on
  uint64_t memory_limit = 0;    // bytes of each device's memory; 0: what it has available
  // Bytes of a GPU's memory to work in: layers of the transformers that do not fit stream from
  // pinned host memory, and the text encoder makes room for them. 0: all weights are on the GPU. A
  // CPU ignores it.
  uint64_t vram_budget = 0;
  // On the transformers, in this order.
  std::vector<AdapterUse> adapters{};
};

// Its GPUs from `devices`, of which `undecided` ones are left out.
void use_devices(PipelineOptions& options, const DeviceChoice& devices);

// kEncode: the picture that this one begins from becomes latents. kFinish: the decoder's floats
// become 8-bit pixels.
enum class Phase {
  kLoadText,
  kText,
  kLoadTransformers,
  kEncode,
  kPrepare,
  kDenoise,
  kLoadVae,
  kDecode,
  kFinish
};
inline constexpr std::array<std::string_view, 9> kPhaseNames{
    "load_text", "text",  "load_transformers", "encode", "prepare", "denoise", "load_vae",
    "decode",    "finish"};

struct PictureProgress {
  Phase phase = Phase::kLoadText;
  int64_t done = 0, total = 1;  // steps of the phase, e.g. sampling steps
};
using ProgressCallback = std::function<void(const PictureProgress&)>;

// The picture that a step's velocity leads to: x - (noise that is left) * velocity, which early
// steps show blurred and not noisy.
struct StepEstimate {
  int64_t step = 0, steps = 0;     // done, of all
  std::span<const float> latents;  // [tokens, channels], as Picture::latents
};
struct StepEstimates {
  std::vector<int64_t> after{};  // numbers of steps done, from 1 on
  std::function<void(const StepEstimate&)> take{};
};

struct Picture {
  RgbImage image;
  std::vector<float>
      planar;  // [3, height, width], the decoder's picture mapped to [0, 1] and clamped
  std::vector<float> latents;   // [tokens, channels], before the VAE's denormalization
  std::vector<float> features;  // [text_tokens, feature_dim], if they were asked for
  int64_t text_tokens = 0, feature_dim = 0, image_tokens = 0, latent_channels = 0;
  int64_t streamed_layers = 0;  // of the transformers of a step
  uint64_t streamed_bytes = 0;  // that a step copies to the GPU
  std::array<double, kPhaseNames.size()> phase_ms{};
  std::vector<double> step_ms;
};

// Of the picture that a step works on: its own, or half of its width and height.
enum class StepSize { kHalf, kFull };

// A picture that can be drawn, before it is: what `generate` takes. It may be held, and drawn more
// than once.
struct PicturePlan {
  PictureRequest request;  // as it is drawn: without a negative prompt that nothing reads
  std::vector<std::vector<int32_t>> texts;  // token ids; the prompt is the first
  Sampling sampling;
  MemoryPlan memory;
  std::optional<MemoryPlan> second_memory;  // of the second GPU, if there is one
  // Of each GPU that shares passes with another: those of rank_gpus, then of second_rank_gpus.
  std::vector<MemoryPlan> rank_memory;
  std::vector<bool> loaded;          // transformers that `memory` found loaded
  std::vector<AdapterUse> adapters;  // that `memory` counts
  int64_t grid_h = 0, grid_w = 0;    // image tokens

  int64_t text_tokens() const { return static_cast<int64_t>(texts.front().size()); }
  int64_t image_tokens() const { return grid_h * grid_w; }
  // That run: less than the request's where the picture begins from another.
  int64_t steps() const { return static_cast<int64_t>(sampling.steps.size()); }
  // Of the latents that a step leads to: 1 noise .. 0 picture.
  double noise_level_behind(int64_t step) const {
    return step + 1 < steps() ? sampling.noise_level(static_cast<size_t>(step + 1)) : 0.0;
  }
  StepSize step_size(int64_t step) const {
    return step < sampling.half_steps ? StepSize::kHalf : StepSize::kFull;
  }
  // Of a pass at a size, and the steps that a sampler of that size knows: the half-size one has no
  // others.
  PassSize pass_size(const Pass& pass, StepSize size) const;
  int64_t step_count(StepSize size) const {
    return size == StepSize::kHalf ? sampling.half_steps : steps();
  }
  // Of the step mask; empty: every pass is computed.
  std::string mask_name() const { return sampling.mask ? sampling.mask->name : std::string(); }
  // Of the device's memory, weights included; of the second GPU's, 0 without one.
  uint64_t peak_bytes() const { return memory.peak_bytes(); }
  uint64_t second_peak_bytes() const { return second_memory ? second_memory->peak_bytes() : 0; }
  // Of that GPU beside the first one sharing passes that takes most; 0: there is none.
  uint64_t rank_peak_bytes() const {
    uint64_t most = 0;
    for (const MemoryPlan& plan : rank_memory) most = std::max(most, plan.peak_bytes());
    return most;
  }
  // That a step copies to the GPU.
  uint64_t streamed_bytes() const { return memory.streamed_bytes; }
};

// kInvalidArgument or kUnsupported, in the words of `device.h`, for a second GPU that pictures of
// the model have no work for, or that other options are not possible with.
Status check_second_gpu(const ModelInfo& model, const PipelineOptions& options);
// The same for GPUs that share passes.
Status check_rank_gpus(const PipelineOptions& options);

// Models are loaded when first needed and stay loaded; a Pipeline serves one picture at a time, in
// any thread. What the transformer reads of the last prompts is kept, and on a GPU with room for it
// the recorded passes of the last picture: another of the same size and prompt length replays them,
// one of another length records anew, in the same memory where the lengths are near.
class Pipeline {
 public:
  // Weights come with the first picture.
  static Expected<std::unique_ptr<Pipeline>> open(std::shared_ptr<const Model> model,
                                                  const PipelineOptions& options);
  // The same of a folder of the diffusers layout.
  static Expected<std::unique_ptr<Pipeline>> open(const std::filesystem::path& folder,
                                                  const PipelineOptions& options);
  ~Pipeline();

  const ModelInfo& info() const;
  // The device it runs on, and the second one; nullptr: there is none.
  const Context& context() const;
  const Context* second_context() const;
  // Those that share its passes, rank 1 on.
  std::vector<const Context*> rank_contexts() const;
  // All of these.
  std::vector<const Context*> other_contexts() const;
  // Hash of all weights, 16 hexadecimal digits. `cancel` as below.
  Expected<std::string> model_hash(const std::atomic<bool>* cancel = nullptr);

  // Takes the place of the options' adapters from the next picture on, also of one planned before.
  // Those that run beside their linears come and go without a weight being read again; where what
  // is merged into weights differs, the transformers are loaded anew. Either way a picture is what
  // a pipeline opened with these adapters draws. kShapeMismatch, kBadFormat or kUnsupported for one
  // that does not fit; those before stay then.
  Status set_adapters(std::vector<AdapterUse> adapters);

  // Checks sizes, reads the texts and plans memory, without doing anything else: kInvalidArgument
  // for sizes that do not divide, wrong counts; kOutOfMemory with what is needed and what there is.
  // What earlier pictures have loaded may stay if it fits.
  Expected<PicturePlan> plan(const PictureRequest& request);

  // Draws what was planned, by this pipeline or another of the same model and options. `cancel` may
  // be null; once it is set the call returns kCancelled within a layer's time. An estimate costs
  // two copies of the latents to the host.
  Expected<Picture> generate(const PicturePlan& plan, const ProgressCallback& progress,
                             const std::atomic<bool>* cancel, const StepEstimates& estimates = {});
  // Both at once.
  Expected<Picture> generate(const PictureRequest& request, const ProgressCallback& progress,
                             const std::atomic<bool>* cancel);

  // Text features alone: F32 [tokens, feature_dim].
  Expected<std::vector<float>> encode_text(std::string_view prompt,
                                           std::optional<int64_t> most_tokens = {},
                                           std::vector<int32_t>* ids = nullptr);

 private:
  struct Impl;
  explicit Pipeline(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace intaglio
