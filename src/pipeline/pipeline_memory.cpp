// Memory of a pipeline's devices: what there is, and what a picture takes of it.
#include <fmt/format.h>

#include <algorithm>

#include "core/memory_info.h"
#include "pipeline/pipeline_impl.h"

namespace intaglio {
namespace {

// Of a GPU's free memory, left to its driver: kernels and libraries are loaded when they are first
// used.
constexpr uint64_t kDriverBytes = uint64_t{256} << 20;

}  // namespace

Expected<uint64_t> memory_limit_of(const Context& context, const PipelineOptions& options) {
  uint64_t limit = options.memory_limit;
  if (limit == 0) {
    INTAGLIO_ASSIGN(limit, available_device_bytes(context));
    if (context.gpu != nullptr) limit -= std::min(limit, kDriverBytes);
  }
  if (context.gpu != nullptr && options.vram_budget > 0)
    limit = std::min(limit, options.vram_budget);
  return limit;
}

PlannedPicture Pipeline::Impl::planned_picture(const PicturePlan& p) const {
  PlannedPicture picture{.passes = p.sampling.passes,
                         .text_tokens = {},
                         .grid_h = p.grid_h,
                         .grid_w = p.grid_w,
                         .steps = p.steps(),
                         .mask = p.sampling.mask ? &*p.sampling.mask : nullptr,
                         .half_steps = p.sampling.half_steps,
                         .encodes = p.request.init.has_value()};
  for (const std::vector<int32_t>& ids : p.texts)
    picture.text_tokens.push_back(static_cast<int64_t>(ids.size()));
  if (second != nullptr) picture.away = kAwayPass;
  picture.split = split_of(0);
  return picture;
}

tl::unexpected<Error> Pipeline::Impl::memory_error(const PicturePlan& plan, const Context& on,
                                                   const Error& error) const {
  const bool may_stream = context.gpu != nullptr && !streams() && !has_other_devices();
  const PictureRequest& r = plan.request;
  return make_error(error.code, "{}a {}x{} picture at {}: {}{}",
                    has_other_devices() ? fmt::format("cuda:{}: ", on.gpu->ordinal) : "", r.width,
                    r.height, precision_name(options.selection.precision), error.message,
                    may_stream ? "; with a VRAM budget layers stream from host memory" : "");
}

Expected<MemoryPlan> Pipeline::Impl::plan_home_memory(const PicturePlan& p) const {
  PlannedPicture picture = planned_picture(p);
  const auto make = [&]() -> Expected<MemoryPlan> {
    INTAGLIO_ASSIGN(const MemoryNeeds needs,
                    picture_needs(context, *model, transformer_options(), picture));
    return plan_memory(
        needs, {.bytes = memory_limit, .stream = streams(), .text_by_layers = has_other_devices()});
  };
  // What an earlier picture loaded may stay if it fits.
  picture.kept = p.loaded;
  Expected<MemoryPlan> plan = make();
  if (!plan && any_transformer()) {
    picture.kept.clear();
    plan = make();
  }
  if (!plan) return memory_error(p, context, plan.error());
  return plan;
}

Status Pipeline::Impl::plan_memory_of(PicturePlan& p) const {
  INTAGLIO_TRY(check_passes(p));
  INTAGLIO_ASSIGN(p.memory, plan_home_memory(p));
  p.second_memory.reset();
  INTAGLIO_ASSIGN(p.rank_memory, plan_rank_memory(p));
  if (second == nullptr) return {};
  INTAGLIO_ASSIGN(p.second_memory, plan_second_memory(p));
  return {};
}

// What streams lies in host memory that cannot be swapped out: better no picture than a machine
// that stands still.
Status Pipeline::Impl::check_pinned(const PicturePlan& plan) const {
  uint64_t bytes = must_load_transformers(plan.memory) ? plan.memory.pinned_bytes : 0;
  if (second != nullptr && second->transformer == nullptr)
    bytes += plan.second_memory->pinned_bytes;
  for (size_t i = 0; i < ranks.size(); ++i)
    if (ranks[i]->streamer == nullptr) bytes += plan.rank_memory[i].pinned_bytes;
  if (bytes == 0) return {};
  const uint64_t available = available_memory_bytes();
  if (bytes <= available) return {};
  return make_error(ErrorCode::kOutOfMemory,
                    "{} of weights would stream from host memory ({} bytes), {} ({} bytes) is "
                    "available there",
                    format_bytes(bytes), bytes, format_bytes(available), available);
}

}  // namespace intaglio
