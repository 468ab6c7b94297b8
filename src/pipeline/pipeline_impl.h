// What a Pipeline holds: its models, its memory and what it keeps from picture to picture.
// pipeline.cpp makes the picture, pipeline_denoise.cpp its latents, pipeline_init.cpp takes those
// of a given picture, pipeline_memory.cpp plans, pipeline_load.cpp puts weights and activations on
// the devices, pipeline_second.cpp is what a second one does, pipeline_ranks.cpp what those do that
// share its passes.
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <deque>

#include "core/arena.h"
#include "models/model.h"
#include "models/parts/weight_streaming.h"
#include "pipeline/half_band.h"
#include "pipeline/init_latents.h"
#include "pipeline/memory_plan.h"
#include "pipeline/pipeline.h"
#include "pipeline/sampler.h"

namespace intaglio {

using Clock = std::chrono::steady_clock;

inline double elapsed_ms(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

// Bytes of the context's device, the current one, that a pipeline may plan with.
Expected<uint64_t> memory_limit_of(const Context& context, const PipelineOptions& options);

struct Pipeline::Impl {
  // A text of the picture at work, and one of both: what the transformer made of it for an earlier
  // picture, a fraction of the features, or the features on the device.
  struct Text {
    std::vector<int32_t> ids;
    std::shared_ptr<const std::vector<float>> rows;
    AlignedBuffer features;
  };

  // Where the second pass of each step runs, if that is another GPU than the pictures'.
  struct SecondDevice {
    std::shared_ptr<void> stream;
    Context context;
    Arena arena;  // of the pass
    uint64_t memory_limit = 0;
    std::shared_ptr<WeightStreamer> streamer;
    std::unique_ptr<Transformer> transformer;  // of the pass; null: not loaded
  };
  static constexpr size_t kAwayPass = 1;

  // The pictures' own GPU and those that share its passes; the second one and those that share its.
  static constexpr size_t kTeams = 2;

  // A GPU that computes a part of the rows of the passes that run on another.
  struct RankDevice {
    size_t team = 0;
    int rank = 1;
    std::shared_ptr<void> stream;
    Context context;
    Arena arena;  // of a pass
    uint64_t memory_limit = 0;
    std::shared_ptr<WeightStreamer> streamer;
    std::vector<std::unique_ptr<Transformer>> transformers;  // by their number; null: not loaded
  };

  std::shared_ptr<const Model> model;
  PipelineOptions options;
  std::shared_ptr<void> stream;
  Context context;
  Arena arena;
  std::optional<qwen3::TextEncoder> text_encoder;
  std::shared_ptr<WeightStreamer> streamer;                // of all transformers
  std::vector<std::unique_ptr<Transformer>> transformers;  // by their number; null: not loaded
  std::optional<autoencoder::Decoder> vae;
  MemoryPlan placed;  // how the transformers were loaded
  std::unique_ptr<SecondDevice> second;
  std::vector<std::unique_ptr<RankDevice>> ranks;               // by their team and rank
  std::array<std::unique_ptr<CollectiveGroup>, kTeams> groups;  // of teams with ranks
  Sampler sampler;
  Sampler half_sampler;  // of the steps at half size; empty after a picture without any
  const StepEstimates* estimates = nullptr;       // of the picture at work
  std::optional<InitLatents> init;                // of the picture at work, if it begins from one
  uint64_t kept_scratch = 0, beside_scratch = 0;  // of the plan at work: see MemoryPlan
  struct KeptText {
    int transformer = 0;
    std::vector<int32_t> ids;
    std::shared_ptr<const std::vector<float>> rows;  // Transformer::text_rows
  };
  std::deque<KeptText> kept_texts;  // the newest last

  const ModelInfo& info() const { return model->info(); }
  DType vae_dtype() const {
    return autoencoder::Decoder::compute_dtype(context, options.selection);
  }
  // Before anything is loaded the device's memory is what there is; later the loaded weights are
  // part of the plan too.
  uint64_t memory_limit = 0;

  bool is_away(size_t pass) const { return second != nullptr && pass == kAwayPass; }
  bool has_other_devices() const { return second != nullptr || !ranks.empty(); }
  size_t team_of(size_t pass) const { return is_away(pass) ? 1 : 0; }
  // Of rank 0, the GPU that a team's passes run on, or another.
  RowSplit split_of(size_t team, int rank = 0) const {
    return {rank,
            1 + static_cast<int>(std::count_if(ranks.begin(), ranks.end(), [&](const auto& other) {
              return other->team == team;
            }))};
  }
  // Of the picture at work, once it is loaded.
  const Transformer& transformer_of(const PicturePlan& plan, size_t pass) const {
    if (is_away(pass)) return *second->transformer;
    return *transformers[static_cast<size_t>(plan.sampling.passes[pass].transformer)];
  }
  bool streams() const { return context.gpu != nullptr && options.vram_budget > 0; }
  TransformerOptions transformer_options() const {
    return {.selection = options.selection,
            .attention = options.attention,
            .adapters = options.adapters};
  }
  std::vector<bool> loaded() const;
  bool any_transformer() const;

  // The flag that ends work on all devices.
  void stop_on(const std::atomic<bool>* cancel);
  Expected<Picture> generate(const PicturePlan& plan, const ProgressCallback& progress);
  Expected<PicturePlan> plan(const PictureRequest& request) const;
  PlannedPicture planned_picture(const PicturePlan& plan) const;
  Status plan_memory_of(PicturePlan& plan) const;
  tl::unexpected<Error> memory_error(const PicturePlan& plan, const Context& on,
                                     const Error& error) const;
  Expected<MemoryPlan> plan_home_memory(const PicturePlan& plan) const;
  Expected<MemoryPlan> plan_second_memory(const PicturePlan& plan) const;
  Status check_pinned(const PicturePlan& plan) const;
  Status check_passes(const PicturePlan& plan) const;
  Status check_request(const PictureRequest& request) const;
  Status reserve(size_t bytes);
  void drop_samplers();
  void drop_activations();
  Status load_text_encoder(int64_t longest, int64_t all);
  bool must_load_transformers(const MemoryPlan& plan) const;
  void drop_transformers();
  void take_adapters(std::vector<AdapterUse> adapters);
  Status load_transformers(const PicturePlan& plan);
  Status open_second();
  Status load_second(const PicturePlan& plan);
  Status reserve_second(size_t bytes);
  void drop_second();
  Status open_ranks();
  Expected<const Context*> open_rank(int gpu, size_t team, int number);
  Status check_shared_pass(const PicturePlan& plan, size_t pass, const Context& on,
                           RowSplit split) const;
  Expected<std::vector<MemoryPlan>> plan_rank_memory(const PicturePlan& plan) const;
  Status load_ranks(const PicturePlan& plan);
  Status reserve_ranks(const PicturePlan& plan);
  Expected<std::vector<AlignedBuffer>> add_ranks(const PicturePlan& plan,
                                                 std::span<const Text> texts,
                                                 SamplerInputs& inputs) const;
  void take_rank_adapters();
  Status load_vae();
  std::shared_ptr<const std::vector<float>> kept_rows(int transformer,
                                                      const std::vector<int32_t>& ids) const;
  Status keep_rows(size_t pass, int transformer, const std::vector<int32_t>& ids);
  Expected<AlignedBuffer> encode(const std::vector<int32_t>& ids);
  Expected<std::vector<float>> on_host(const AlignedBuffer& features) const;
  Expected<std::vector<Text>> read_texts(const PicturePlan& plan, Picture& picture,
                                         const ProgressCallback& progress);
  // Bytes of scratch of one pass, and of the second of two beside it; 0: one after the other.
  struct RunScratch {
    size_t pass = 0, beside = 0;
    size_t all() const { return pass + beside; }
  };
  RunScratch run_scratch(const PicturePlan& plan, StepSize size) const;
  size_t pass_scratch(const PicturePlan& plan, size_t pass, StepSize size) const;
  Sampler& sampler_of(StepSize size) { return size == StepSize::kHalf ? half_sampler : sampler; }
  Expected<AlignedBuffer> send_features(const Text& text) const;
  Status prepare_run(const PicturePlan& plan, std::span<const Text> texts, StepSize size,
                     std::span<const float> times);
  Status keep_texts(const PicturePlan& plan, std::vector<Text>& texts);
  Status prepare_samplers(const PicturePlan& plan, std::vector<Text>& texts, Picture& picture,
                          std::vector<float> clean);
  Expected<std::vector<float>> encode_picture(const RgbImage& image,
                                              const ProgressCallback& progress);
  Status begin_from_init(const PicturePlan& plan, Picture& picture, std::vector<float> clean);
  Status keep_given_latents(const PicturePlan& plan, int64_t step);
  HalfBand half_band(const PicturePlan& plan) const;
  Status go_to_full_size(const PicturePlan& plan, std::span<const float> noise);
  Status run_steps(const PicturePlan& plan, Picture& picture, const ProgressCallback& progress);
  Status run_step(const PicturePlan& plan, int64_t step);
  Status run_estimated_step(const PicturePlan& plan, int64_t step);
  Status denoise(const PicturePlan& plan, std::vector<Text>& texts, Picture& picture,
                 const ProgressCallback& progress);
  Status decode(const PicturePlan& plan, Picture& picture, const ProgressCallback& progress);
};

}  // namespace intaglio
