// What a Pipeline holds: its models, its memory and what it keeps from picture to picture. pipeline.cpp makes the picture, pipeline_load.cpp puts weights and
// activations on the device.
#pragma once

#include <deque>

#include "core/arena.h"
#include "models/autoencoder/decoder.h"
#include "models/ideogram4/transformer.h"
#include "models/parts/weight_streaming.h"
#include "models/qwen3/text_encoder.h"
#include "pipeline/memory_plan.h"
#include "pipeline/pipeline.h"
#include "pipeline/sampler.h"

namespace intaglio {

struct Pipeline::Impl {
  // Ids and one of both: what the transformer made of an earlier picture's text, a twelfth of the features, or the features on the device.
  struct Text {
    std::vector<int32_t> ids;
    std::shared_ptr<const std::vector<float>> rows;
    AlignedBuffer features;
  };

  std::shared_ptr<const ModelSource> source;
  PipelineOptions options;
  std::shared_ptr<void> stream;
  Context context;
  Arena arena;
  std::optional<qwen3::TextEncoder> text_encoder;
  std::shared_ptr<WeightStreamer> streamer;  // of both transformers
  std::optional<ideogram4::Transformer> conditional, unconditional;
  std::optional<autoencoder::Decoder> vae;
  MemoryPlan placed;  // how the transformers were loaded
  Sampler sampler;
  uint64_t kept_scratch = 0, beside_scratch = 0;  // of the plan at work: see MemoryPlan
  struct KeptText {
    std::vector<int32_t> ids;
    std::shared_ptr<const std::vector<float>> rows;  // ideogram4::Transformer::text_rows
  };
  std::deque<KeptText> kept_texts;  // the newest last

  const ModelInfo& info() const { return source->info(); }
  DType vae_dtype() const {
    return autoencoder::Decoder::compute_dtype(context, options.selection);
  }
  // Before anything is loaded the device's memory is what there is; later the loaded weights are part of the plan too.
  uint64_t memory_limit = 0;

  bool streams() const { return context.gpu != nullptr && options.vram_budget > 0; }
  Expected<Picture> generate(const PictureRequest& request, const ProgressCallback& progress);
  Expected<PicturePlan> plan(const PictureRequest& request) const;
  Expected<MemoryPlan> plan(const PictureRequest& request, int64_t text_tokens) const;
  Status check_pinned(const MemoryPlan& plan) const;
  Status check_request(const PictureRequest& request) const;
  Expected<std::vector<int32_t>> token_ids(const PictureRequest& request) const;
  Status reserve(size_t bytes);
  void drop_activations();
  Status load_text_encoder(int64_t tokens);
  bool must_load_transformers(const MemoryPlan& plan) const;
  void drop_transformers();
  Status load_transformers(const MemoryPlan& plan, bool with_unconditional);
  Status load_vae();
  std::shared_ptr<const std::vector<float>> kept_rows(const std::vector<int32_t>& ids) const;
  Status keep_rows(const std::vector<int32_t>& ids);
  Expected<AlignedBuffer> encode(const std::vector<int32_t>& ids);
  Expected<std::vector<float>> on_host(const AlignedBuffer& features) const;
  Status prepare_sampler(const PictureRequest& request, Text& text, std::span<const float> sigmas,
                         Picture& picture);
  Status run_steps(const PictureRequest& request, std::span<const float> sigmas, Picture& picture,
                   const ProgressCallback& progress);
  Status denoise(const PictureRequest& request, const MemoryPlan& plan, Text& text,
                 Picture& picture, const ProgressCallback& progress);
  Status decode(const PictureRequest& request, Picture& picture, const ProgressCallback& progress);
};

}  // namespace intaglio
