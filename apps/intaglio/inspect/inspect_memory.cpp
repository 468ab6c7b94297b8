#include "inspect/inspect_memory.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>

#include "core/memory_info.h"
#include "io/checkpoint.h"
#include "io/formats/stored_weights.h"
#include "models/part_modules.h"
#include "models/registry.h"
#include "pipeline/device.h"
#include "pipeline/memory_plan.h"

namespace intaglio::cli {
namespace {

using nlohmann::ordered_json;

// The picture that memory is predicted for.
constexpr int64_t kSide = 1024, kTextTokens = 512;

uint64_t all_bytes(const ModelWeights& weights) {
  return weights.fixed_bytes + weights.all_layers() +
         std::accumulate(weights.once_bytes.begin(), weights.once_bytes.end(), uint64_t{0});
}

std::string picture_text(const Context& context) {
  return fmt::format("{}x{}, {} text tokens, activations on {}", kSide, kSide, kTextTokens,
                     device_name(context));
}

PassSize pass_size(const ModelInfo& info) {
  const int64_t side = kSide / info.pixels_per_token;
  return {.text_tokens = kTextTokens, .grid_h = side, .grid_w = side};
}

// Of one precision. `work`: activations and what pictures keep; nullopt where the device has no
// products of the precision.
struct Prediction {
  std::vector<std::pair<const char*, uint64_t>> weights;
  std::optional<uint64_t> work, most;
};

void add_prediction(Precision precision, const Prediction& p, ordered_json& facts) {
  const std::string name(precision_name(precision));
  ordered_json bytes = ordered_json::object();
  uint64_t sum = 0;
  std::string parts;
  for (const auto& [part, size] : p.weights) {
    sum += size;
    bytes[part] = size;
    parts += fmt::format("{}{} {}", parts.empty() ? "" : ", ", part, format_bytes(size));
  }
  bytes["weights"] = sum;
  std::string text = fmt::format("weights {}", format_bytes(sum));
  if (p.weights.size() > 1) text += fmt::format(" ({})", parts);
  if (p.work) {
    text += fmt::format(", activations {}", format_bytes(*p.work));
    bytes["activations"] = *p.work;
  }
  if (p.most) {
    text += fmt::format(", at most {} at once", format_bytes(*p.most));
    bytes["most"] = *p.most;
  }
  facts["memory"][name] = std::move(text);
  facts["memory_bytes"][name] = std::move(bytes);
}

// The prediction of every precision.
Status add_all(const std::function<Expected<Prediction>(const Context&, const LayerSelection&)>& of,
               ordered_json& facts) {
  INTAGLIO_ASSIGN(const DeviceContext device, open_device(default_gpu(), 0));
  ordered_json found;
  found["memory"]["picture"] = picture_text(device.context);
  for (const std::string_view name : precision_names()) {
    const Precision precision = *precision_from_name(name);
    INTAGLIO_ASSIGN(const Prediction prediction, of(device.context, {.precision = precision}));
    add_prediction(precision, prediction, found);
  }
  facts.update(found);
  return {};
}

Expected<Prediction> predict_model(const Context& context, const Model& model,
                                   const LayerSelection& selection) {
  const TransformerOptions options{.selection = selection};
  Prediction p;
  uint64_t transformers = 0;
  for (int which = 0; which < model.transformers(); ++which)
    transformers += all_bytes(model.transformer(which, options)->module_weights());
  const DType vae = autoencoder::Decoder::compute_dtype(context, selection);
  p.weights = {
      {"transformers", transformers},
      {"text_encoder", all_bytes(qwen3::text_encoder_weights(model.text_config(), selection))},
      {"vae", autoencoder::decoder_weight_bytes(model.vae_config(), vae)}};
  if (!selection.check_device(context)) return p;
  INTAGLIO_ASSIGN(const MemoryNeeds needs,
                  guided_picture_needs(context, model, options, pass_size(model.info()),
                                       model.info().default_steps));
  p.work = std::max({needs.text_scratch, needs.transformer_scratch, needs.vae_scratch}) +
           needs.sessions + needs.features;
  INTAGLIO_ASSIGN(const MemoryPlan plan,
                  plan_memory(needs, {.bytes = std::numeric_limits<uint64_t>::max() / 2}));
  p.most = plan.peak_bytes();
  return p;
}

using MakeTransformer =
    std::function<Expected<std::unique_ptr<Transformer>>(const TransformerOptions&)>;

Expected<Prediction> predict_transformer(const Context& context, const MakeTransformer& make,
                                         const std::shared_ptr<const TensorSource>& source,
                                         const ModelInfo& info, const LayerSelection& selection) {
  INTAGLIO_ASSIGN(const auto transformer, make({.selection = selection, .source = source}));
  Prediction p;
  p.weights = {{"transformer", all_bytes(transformer->module_weights())}};
  if (!selection.check_device(context)) return p;
  INTAGLIO_TRY(transformer->describe(context));
  const PassSize size = pass_size(info);
  p.work = transformer->scratch_bytes(context, size, info.default_steps) +
           transformer->session_bytes(size, info.default_steps);
  return p;
}

Status add_transformer(const std::shared_ptr<const Checkpoint>& checkpoint,
                       const PartModules& modules, const std::optional<JsonConfig>& config,
                       ordered_json& facts) {
  INTAGLIO_ASSIGN(const std::shared_ptr<const Model> model, synthetic_model(modules.model));
  ordered_json presets = ordered_json::object();
  for (const Preset& preset : model->info().presets)
    presets[preset.name] = describe_preset(model->info(), preset);
  if (!presets.empty()) facts["presets"] = std::move(presets);
  const MakeTransformer make = [&](const TransformerOptions& options) {
    if (config) return model->transformer_of(0, *config, options);
    return Expected<std::unique_ptr<Transformer>>(model->transformer(0, options));
  };
  INTAGLIO_ASSIGN(const auto described, make({}));
  INTAGLIO_ASSIGN(const std::shared_ptr<const TensorSource> source,
                  described->open_source(checkpoint));
  return add_all(
      [&](const Context& context, const LayerSelection& selection) {
        return predict_transformer(context, make, source, model->info(), selection);
      },
      facts);
}

void note_failure(const Status& status, ordered_json& facts) {
  if (!status) facts["memory_not_predicted"] = status.error().message;
}

}  // namespace

void add_model_memory(const ModelPaths& paths, ordered_json& facts) {
  const Expected<std::shared_ptr<const Model>> model = open_model(paths);
  if (!model) return note_failure(tl::unexpected<Error>(model.error()), facts);
  note_failure(add_all(
                   [&](const Context& context, const LayerSelection& selection) {
                     return predict_model(context, **model, selection);
                   },
                   facts),
               facts);
}

void add_transformer_memory(const std::filesystem::path& weights,
                            const std::optional<JsonConfig>& config, ordered_json& facts) {
  // What keeps the weights from being read is said elsewhere.
  const auto checkpoint = Checkpoint::open(weights);
  if (!checkpoint) return;
  const auto stored = StoredWeights::open(*checkpoint);
  if (!stored) return;
  const Expected<PartModules> modules = find_part_modules((*stored)->tensors());
  if (!modules || modules->part != "transformer") return;
  note_failure(add_transformer(*checkpoint, *modules, config, facts), facts);
}

}  // namespace intaglio::cli
