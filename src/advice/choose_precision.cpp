#include "advice/choose_precision.h"

#include <fmt/format.h>

#include <algorithm>

#include "advice/cost_model.h"
#include "advice/deployment_map.h"
#include "pipeline/device.h"

namespace intaglio {
namespace {

std::string reason_of(const RankedPrecision& ranked, const std::string& measured,
                      const PicturePlan& plan, double step_ms) {
  std::string reason = fmt::format("{}: the fastest that fits", precision_name(ranked.precision));
  const std::string mask =
      plan.sampling.mask ? fmt::format(" in the mean of {}", plan.mask_name()) : "";
  if (ranked.step_ms > 0.0)
    reason += fmt::format(" ({:.0f} ms a step{}, {})", step_ms, mask,
                          ranked.measured ? measured : "modelled; `intaglio map` measures");
  if (plan.streamed_bytes() > 0) reason += ", with layers that stream";
  return reason;
}

// Milliseconds that a step's copies of streamed layers take, in the mean of all steps: passes that
// are not computed copy none.
double copies_ms(const CudaDevice* gpu, const Model& model, const PicturePlan& plan) {
  if (gpu == nullptr || plan.streamed_bytes() == 0) return 0.0;
  const StepShape step = step_shape(plan.sampling, model.cached_blocks());
  const double share = (step.first + step.other) / static_cast<double>(plan.sampling.passes.size());
  return 1e-6 * share * static_cast<double>(plan.streamed_bytes()) / card_rates(*gpu).host_gb_s;
}

// The best of `ranked` under `options`; the error of the fastest if none fits.
Expected<ChosenPrecision> best_of(const std::vector<RankedPrecision>& ranked,
                                  const std::shared_ptr<const Model>& model,
                                  const std::string& measured, PipelineOptions options,
                                  const PictureRequest& request) {
  std::optional<ChosenPrecision> best;
  double least_ms = 0.0;
  Error first;
  for (const RankedPrecision& candidate : ranked) {
    // Later ones are slower even without copies.
    if (best && candidate.step_ms >= least_ms) break;
    options.selection.precision = candidate.precision;
    INTAGLIO_ASSIGN(std::unique_ptr<Pipeline> pipeline, Pipeline::open(model, options));
    const Expected<PicturePlan> plan = pipeline->plan(request);
    if (!plan && plan.error().code != ErrorCode::kOutOfMemory)
      return tl::unexpected<Error>(plan.error());
    if (!plan) {
      if (!best && first.message.empty()) first = plan.error();
      continue;
    }
    const double step_ms =
        std::max(candidate.step_ms, copies_ms(pipeline->context().gpu, *model, *plan));
    if (best && step_ms >= least_ms) continue;
    least_ms = step_ms;
    best = ChosenPrecision{std::move(pipeline), candidate.precision,
                           reason_of(candidate, measured, *plan, step_ms)};
  }
  if (best) return std::move(*best);
  return tl::unexpected<Error>(first);
}

}  // namespace

Expected<ChosenPrecision> choose_precision(const std::shared_ptr<const Model>& model,
                                           const PipelineOptions& options,
                                           const PictureRequest& request) {
  INTAGLIO_ASSIGN(const DeviceContext device, open_device(options.gpu, options.threads));
  std::optional<DeploymentMap> map;
  if (device.context.gpu != nullptr) {
    INTAGLIO_ASSIGN(map, kept_deployment_map(device.context.gpu->name));
  }
  PictureRequest read = request;
  INTAGLIO_ASSIGN(const StepShape step, step_shape(*model, read));
  const std::vector<RankedPrecision> ranked = rank_precisions(device.context, *model, step, map);
  const std::string measured =
      map && !map->model.empty() ? fmt::format("measured of {}", map->model) : "measured";
  Expected<ChosenPrecision> chosen = best_of(ranked, model, measured, options, read);
  if (chosen || chosen.error().code != ErrorCode::kOutOfMemory || options.vram_budget > 0 ||
      options.second_gpu || !options.rank_gpus.empty() || device.context.gpu == nullptr)
    return chosen;
  PipelineOptions streaming = options;
  INTAGLIO_ASSIGN(streaming.vram_budget, available_device_bytes(device.context));
  return best_of(ranked, model, measured, streaming, read);
}

}  // namespace intaglio
