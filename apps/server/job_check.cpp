#include "server/job_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "core/utf8.h"
#include "io/printable.h"
#include "server/job_id.h"
#include "server/job_json.h"
#include "server/refusal.h"

namespace intaglio::server {
namespace {

tl::unexpected<Refusal> above(const char* parameter, const char* unit, int64_t found,
                              int64_t most) {
  return invalid(parameter, fmt::format("{}: {}{}, this server takes at most {}", parameter, found,
                                        unit, most));
}

Accepted<void> within(const JobRequest& r, const JobLimits& limits) {
  if (r.prompt.find_first_not_of(" \t\r\n") == std::string::npos)
    return invalid("prompt", "prompt: blank, expected what to show");
  const std::string& negative = r.negative_prompt ? *r.negative_prompt : r.prompt;
  for (const auto& [name, text] :
       {std::pair("prompt", &r.prompt), std::pair("negative_prompt", &negative)}) {
    const auto bytes = static_cast<int64_t>(text->size());
    if (!is_utf8(*text)) return invalid(name, fmt::format("{}: expected UTF-8", name));
    if (text->find('\0') != std::string::npos)
      return invalid(name, fmt::format("{}: expected text without zero bytes", name));
    if (bytes > limits.prompt_bytes) return above(name, " bytes", bytes, limits.prompt_bytes);
  }
  if (r.count < 1) return invalid("count", fmt::format("count: {}, expected 1 or more", r.count));
  if (r.count > limits.count) return above("count", "", r.count, limits.count);
  if (r.steps && *r.steps > limits.steps) return above("steps", "", *r.steps, limits.steps);
  if (r.width.has_value() != r.height.has_value())
    return invalid(r.width ? "height" : "width",
                   "width, height: expected both or neither, found one of them");
  if (r.width && (*r.width < 1 || *r.height < 1 || *r.width > limits.pixels / *r.height))
    return invalid("size", fmt::format("size: {}x{}, this server takes at most {} pixels", *r.width,
                                       *r.height, limits.pixels));
  if (r.deadline_seconds && !(*r.deadline_seconds > 0))
    return invalid("deadline_seconds", "deadline_seconds: expected more than 0");
  return {};
}

Accepted<void> check_init_picture(const JobRequest& r, const ModelInfo* model) {
  const bool has_image = r.init_image || (r.sent && r.sent->image);
  const bool has_mask = r.mask || (r.sent && r.sent->mask);
  if (has_mask && !has_image)
    return invalid("mask", "mask: expected an init_image whose white parts it has drawn anew");
  if (r.strength && !has_image)
    return invalid("strength", "strength: expected an init_image that it goes with");
  const std::string small = r.progressive.value_or("off");
  if (has_image && !small.empty() && small != "off" && small != "0")
    return invalid("progressive",
                   fmt::format("progressive: a picture that begins from another has no first steps "
                               "at half size; expected off, found \"{}\"",
                               printable(small)));
  if (!has_image || model == nullptr || model->takes_init_picture) return {};
  return invalid("init_image",
                 fmt::format("init_image: the files of {} have no encoder, so that it begins from "
                             "no picture",
                             model->name));
}

// nullptr: the drawer says that there is none.
const ServedModel* model_of(const JobRequest& request, const std::vector<ServedModel>& models) {
  const auto found = std::find_if(models.begin(), models.end(), [&](const ServedModel& model) {
    return request.model.empty() || model.name == request.model;
  });
  return found == models.end() ? nullptr : &*found;
}

}  // namespace

Accepted<CheckedRequest> checked_request(const JobRequest& wanted, const JobLimits& limits,
                                         const Drawer& drawer, const InputFile& kept) {
  JobRequest request = wanted;
  const std::vector<ServedModel> models = drawer.models();
  const ServedModel* const model = model_of(request, models);
  const ModelInfo* const info = model == nullptr ? nullptr : &model->info;
  if (const Accepted<void> good = check_init_picture(request, info); !good)
    return tl::unexpected<Refusal>(good.error());
  if (info != nullptr) choose_size_of_init(*info, request);
  if (const Accepted<void> good = within(request, limits); !good)
    return tl::unexpected<Refusal>(good.error());
  Accepted<JobRequest> complete = drawer.complete(request);
  if (!complete) return tl::unexpected<Refusal>(std::move(complete.error()));
  // What the model and its presets have chosen.
  if (const Accepted<void> good = within(*complete, limits); !good)
    return tl::unexpected<Refusal>(good.error());
  if (!complete->seed) {
    const Expected<uint64_t> bits = random_bits();
    if (!bits) return refused(Refusal::Reason::kInternal, bits.error().message);
    complete->seed = *bits >> 32;
  }
  if (*complete->seed > std::numeric_limits<uint64_t>::max() - static_cast<uint64_t>(request.count))
    return invalid("seed", "seed: too large for so many pictures");
  Accepted<std::vector<InputPicture>> inputs = fit_input_pictures(*complete, kept);
  if (!inputs) return tl::unexpected<Refusal>(std::move(inputs.error()));
  if (complete->init_image && !complete->strength) complete->strength = InitPicture{}.strength;
  // As whoever keeps it will read it.
  Accepted<JobRequest> read = read_stored_request(stored_request_text(*complete));
  if (!read) return tl::unexpected<Refusal>(std::move(read.error()));
  return CheckedRequest{.request = std::move(*read), .inputs = std::move(*inputs)};
}

}  // namespace intaglio::server
