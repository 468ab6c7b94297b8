// What a model is to all that draws with it: its texts, its schedule, its passes and its parts. A
// pipeline knows no more of a model than this.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/context.h"
#include "core/status.h"
#include "io/json_config.h"
#include "models/autoencoder/decoder.h"
#include "models/autoencoder/encoder.h"
#include "models/init_picture.h"
#include "models/model_info.h"
#include "models/parts/adapters.h"
#include "models/parts/selection.h"
#include "models/qwen3/text_encoder.h"
#include "models/step_mask.h"
#include "models/transformer.h"

namespace intaglio {

struct PictureRequest {
  std::string prompt;
  // What to steer away from; nullopt: the model's own choice. Refused by models that read none.
  std::optional<std::string> negative_prompt;
  // Text tokens that take the prompt's place, as many as a prompt may have.
  std::optional<std::vector<int32_t>> token_ids;
  int64_t width = 0, height = 0, steps = 0;
  std::vector<float> guidance;  // one a step
  double mu = 0.0, std = 1.5;   // of models whose schedule has them (ModelInfo::schedule_is_normal)
  // Of the others: where noise levels lie, in place of what their scheduler says.
  std::optional<double> shift = {};
  // Of models that have them. cfg_normalization > 0: a guided velocity is scaled down to at most so
  // many times the norm of the first pass's; cfg_truncation: guidance ends once the model's time is
  // beyond it; nullopt, 0 and 1: not used.
  double cfg_normalization = 0.0, cfg_truncation = 1.0;
  std::optional<int64_t> max_sequence_length;  // text tokens a prompt is cut to, of models that cut
  // Which passes are computed: a mask, else what choose_step_mask makes of `cache`.
  std::optional<StepMask> mask = {};
  std::string cache = {};
  std::string progressive = {};          // which first steps run at half size: choose_half_steps
  std::optional<InitPicture> init = {};  // what it begins from; refused without an encoder
  uint64_t seed = 0;
  std::optional<std::vector<float>> noise;  // [tokens, channels]; overrides the seed
  bool decode = true;                       // false: the picture ends with its latents
  bool keep_features = false;               // whether the picture brings the text features along
};

// One of the velocities of a step: which transformer, reading which of the picture's texts.
struct Pass {
  static constexpr int kNoText = -1;
  int transformer = 0;
  int text = kNoText;
};

struct SamplingStep {
  float time = 0.0f;             // of the model: 0 noise .. 1 picture, or Sampling::time_is_noise
  float delta = 0.0f;            // x -= delta * velocity
  std::vector<float> weights{};  // of the passes; 0: the pass is not run
};

// velocity of a step = sum over the passes of weight * velocity of the pass.
struct Sampling {
  std::vector<Pass> passes;
  std::vector<SamplingStep> steps{};
  // Positive: the velocity is scaled down to at most so many times the norm of the first pass's.
  float velocity_limit = 0.0f;
  bool matches_norms = false;  // else: each token's velocity is made as long as the first pass's
  std::optional<StepMask> mask = {};  // nullopt: every pass of every step is computed
  int64_t half_steps = 0;             // first steps, which run at half size (models/progressive.h)
  int64_t skipped_steps = 0;          // of the schedule, before `steps` (models/init_picture.h)
  bool time_is_noise = false;         // SamplingStep::time is 1 noise .. 0 picture

  // Of the latents that a step begins with: 1 noise .. 0 picture.
  double noise_level(size_t step) const {
    const double time = steps[step].time;
    return time_is_noise ? time : 1.0 - time;
  }
};

class Model {
 public:
  virtual ~Model() = default;

  const ModelInfo& info() const { return info_; }
  const qwen3::TextEncoderConfig& text_config() const { return text_; }
  const autoencoder::DecoderConfig& vae_config() const { return vae_; }

  // Everything on disk that the model is read from, also what a hash or a later load reads: no
  // output of a run may replace one of these.
  virtual std::vector<std::filesystem::path> files() const { return {}; }
  // Hash of all weights, 16 hexadecimal digits. `cancel` may be null; once it is set the call
  // returns kCancelled soon.
  virtual Expected<std::string> hash(const std::atomic<bool>* cancel = nullptr) const = 0;
  // kInvalidArgument for a pattern of `keep_bf16` that no linear's name matches.
  virtual Status check_keep_bf16(const LayerSelection& selection) const = 0;
  // Warnings that name the tensors of each file which are of none of its modules. kShapeMismatch
  // where all are so, and where one is of another size than its module.
  virtual Expected<std::vector<std::string>> check_adapters(
      std::span<const AdapterUse> adapters) const = 0;

  // Ids of a prompt in the model's chat form, of at most `most_tokens` if the model cuts long ones.
  virtual Expected<std::vector<int32_t>> tokenize(
      std::string_view prompt, std::optional<int64_t> most_tokens = {}) const = 0;
  // The texts that the passes of a picture read, as ids; the prompt is the first.
  virtual Expected<std::vector<std::vector<int32_t>>> texts(
      const PictureRequest& request) const = 0;
  // Steps and passes of a picture of `request.steps` steps.
  virtual Expected<Sampling> sampling(const PictureRequest& request) const = 0;
  // The noise levels of a case of `verify` as its file has them: `settings` are those that
  // published schedules of the model are made of.
  virtual Expected<std::vector<float>> sigmas(const PictureRequest& request,
                                              const JsonConfig& settings) const = 0;

  // How many transformers it has, what one is called, and one without weights, by its number.
  virtual int transformers() const = 0;
  virtual std::string_view transformer_name(int) const { return "transformer"; }
  virtual std::unique_ptr<Transformer> transformer(int which, TransformerOptions options) const = 0;
  // Transformer::cached_blocks of each, which costs of step masks are counted by.
  std::vector<int64_t> cached_blocks() const {
    std::vector<int64_t> blocks;
    for (int i = 0; i < transformers(); ++i) blocks.push_back(transformer(i, {})->cached_blocks());
    return blocks;
  }
  // The same of a config of its own, for `verify` and `inspect`.
  virtual Expected<std::unique_ptr<Transformer>> transformer_of(
      int which, const JsonConfig& config, TransformerOptions options) const = 0;

  virtual Expected<qwen3::TextEncoder> load_text_encoder(const Context& context,
                                                         const LayerSelection& selection,
                                                         uint64_t weight_budget) const = 0;
  virtual Expected<std::unique_ptr<Transformer>> load_transformer(
      const Context& context, int which, TransformerOptions options) const = 0;
  virtual Expected<autoencoder::Decoder> load_vae(const Context& context, DType compute) const = 0;
  // kUnsupported if the VAE has no encoder, so that no picture can begin from another.
  virtual Status check_encoder() const = 0;
  virtual Expected<autoencoder::Encoder> load_encoder(const Context& context,
                                                      DType compute) const = 0;

 protected:
  ModelInfo info_;
  qwen3::TextEncoderConfig text_;
  autoencoder::DecoderConfig vae_;
};

}  // namespace intaglio
