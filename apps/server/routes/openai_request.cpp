#include "server/routes/openai_request.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <set>

#include "io/printable.h"
#include "server/input_pictures.h"
#include "server/job_json.h"
#include "server/multipart.h"
#include "server/refusal.h"

namespace intaglio::server {
namespace {

constexpr size_t kShown = 60;  // bytes of a wrong value
constexpr int64_t kMostPictures = 10, kMostPartials = 3;

std::string shown(const Json& value) {
  return value.is_string() ? fmt::format("\"{}\"", printable(value.get<std::string>(), kShown))
                           : printable(json_text(value), kShown);
}

tl::unexpected<Refusal> wrong(const std::string& name, std::string_view expected,
                              const Json& found) {
  return invalid(name, fmt::format("{}: expected {}, found {}", name, expected, shown(found)));
}

// One of `names`; `target` stays where the field is not there or null.
Accepted<bool> choose(const Json& body, const std::string& name,
                      const std::vector<std::string>& names, std::string& target) {
  const auto found = body.find(name);
  if (found == body.end() || found->is_null()) return true;
  const bool known = found->is_string() && std::find(names.begin(), names.end(),
                                                     found->get<std::string>()) != names.end();
  if (!known) return wrong(name, fmt::format("one of {}", fmt::join(names, ", ")), *found);
  target = found->get<std::string>();
  return true;
}

Accepted<bool> whole(const Json& body, const std::string& name, int64_t most, int64_t& target) {
  const auto found = body.find(name);
  if (found == body.end() || found->is_null()) return true;
  const bool fits = found->is_number_integer() && *found >= 0 && *found <= most;
  if (!fits) return wrong(name, fmt::format("a whole number from 0 to {}", most), *found);
  target = found->get<int64_t>();
  return true;
}

Accepted<bool> flag(const Json& body, const std::string& name, bool& target) {
  const auto found = body.find(name);
  if (found == body.end() || found->is_null()) return true;
  if (!found->is_boolean()) return wrong(name, "true or false", *found);
  target = found->get<bool>();
  return true;
}

// "name", "name:0.8", {"name", "strength"}, or an array of these, as the own API has them.
Json loras_of(const Json& value) {
  Json list = Json::array();
  for (const Json& item : value.is_array() ? value : Json::array({value})) {
    if (!item.is_string()) {
      list.push_back(item);
      continue;
    }
    const auto text = item.get<std::string>();
    const size_t colon = text.rfind(':');
    const Json strength =
        colon == std::string::npos ? Json(1.0) : parse_request_json(text.substr(colon + 1));
    if (strength.is_number()) {
      list.push_back({{"name", text.substr(0, colon)}, {"strength", strength}});
    } else {
      list.push_back({{"name", text}});
    }
  }
  return list;
}

// What the own API calls otherwise.
std::string openai_name(const std::string& name) {
  if (name == "count") return "n";
  if (name == "init_image") return "image";
  if (name.starts_with("loras")) return "lora" + name.substr(5);
  return name;
}

const ServedModel* find_model(const std::vector<ServedModel>& models, const std::string& name) {
  for (const ServedModel& model : models)
    if (model.name == name) return &model;
  return nullptr;
}

// Of a model with presets the shortest or the longest.
void apply_quality(const std::string& quality, const ServedModel& model, JobRequest& job) {
  const std::vector<Preset>& presets = model.info.presets;
  if (presets.empty() || job.preset || job.steps || job.guidance) return;
  const auto [least, most] =
      std::minmax_element(presets.begin(), presets.end(),
                          [](const Preset& a, const Preset& b) { return a.steps < b.steps; });
  if (quality == "low") job.preset = least->name;
  if (quality == "high" || quality == "hd") job.preset = most->name;
}

// The fields that are a job's, by their names there.
Json own_fields(const Json& body) {
  Json own = Json::object();
  for (const char* name : {"prompt", "model", "seed", "steps", "guidance", "preset", "cache",
                           "progressive", "negative_prompt", "strength"}) {
    if (const auto found = body.find(name); found != body.end()) own[name] = *found;
  }
  if (const auto n = body.find("n"); n != body.end()) own["count"] = *n;
  if (const auto lora = body.find("lora"); lora != body.end() && !lora->is_null())
    own["loras"] = loras_of(*lora);
  if (const auto size = body.find("size"); size != body.end() && *size != Json("auto"))
    own["size"] = *size;
  return own;
}

Accepted<bool> check_names(const Json& body, bool is_edit) {
  static const std::set<std::string> kNames{
      "prompt",          "model",      "n",          "size",           "quality",
      "style",           "background", "moderation", "output_format",  "output_compression",
      "response_format", "user",       "stream",     "partial_images", "seed",
      "steps",           "guidance",   "preset",     "cache",          "progressive",
      "negative_prompt", "lora"};
  for (const auto& [name, value] : body.items()) {
    const bool of_edits = is_edit && (name == "strength" || name == "input_fidelity");
    if (!kNames.contains(name) && !of_edits) {
      const std::string field = printable(name, kShown);
      return invalid(field, fmt::format("{}: unknown field", field));
    }
  }
  return true;
}

}  // namespace

Refusal as_openai(const Refusal& refusal) {
  return renamed(refusal, refusal.parameter, openai_name(refusal.parameter));
}

bool is_openai_model(std::string_view name) {
  return name.starts_with("dall-e-") || name.starts_with("gpt-image-") ||
         name == "chatgpt-image-latest";
}

namespace {

// `sent`: of an edit; nullptr: of a generation.
Accepted<OpenAiRequest> read_body(const Json& body, const std::vector<ServedModel>& models,
                                  const std::shared_ptr<const SentPictures>& sent) {
  OpenAiRequest request;
  std::string format = "png", form = "b64_json", ignored;
  int64_t compression = 100, partials = 0;
  Accepted<bool> taken = check_names(body, sent != nullptr);
  const auto also = [&taken](auto&& read) {
    if (taken) taken = read();
  };
  also([&] { return choose(body, "output_format", {"png", "jpeg", "webp"}, format); });
  also([&] { return choose(body, "response_format", {"b64_json", "url"}, form); });
  also([&] {
    return choose(body, "quality", {"auto", "low", "medium", "high", "standard", "hd"},
                  request.quality_name);
  });
  also([&] { return choose(body, "background", {"auto", "opaque"}, ignored); });
  also([&] { return choose(body, "moderation", {"auto", "low"}, ignored); });
  also([&] { return choose(body, "style", {"vivid", "natural"}, ignored); });
  also([&] { return choose(body, "input_fidelity", {"high", "low"}, ignored); });
  also([&] { return whole(body, "output_compression", 100, compression); });
  also([&] { return whole(body, "partial_images", kMostPartials, partials); });
  also([&] { return flag(body, "stream", request.stream); });
  if (!taken) return tl::unexpected(taken.error());
  if (form == "url" && format != "png")
    return invalid("response_format", "response_format: url goes with output_format png alone");
  if (form == "url" && request.stream)
    return invalid("response_format", "response_format: url does not go with stream");

  Accepted<JobRequest> job = parse_job_request(json_text(own_fields(body)), sent);
  if (!job) {
    return tl::unexpected(as_openai(job.error()));
  }
  if (job->count > kMostPictures)
    return invalid("n", fmt::format("n: at most {} pictures, found {}", kMostPictures, job->count));
  if (job->preset && job->steps)
    return invalid("preset", "preset: says how many steps; expected either it or steps");
  if (models.empty()) return invalid("model", "model: this server has none");
  if (job->model.empty() || is_openai_model(job->model)) job->model = models.front().name;
  const ServedModel* const model = find_model(models, job->model);
  if (model == nullptr) {
    return tl::unexpected(
        Refusal{.reason = Refusal::Reason::kNotFound,
                .parameter = "model",
                .message = fmt::format("model: there is no \"{}\"; /v1/models lists them",
                                       printable(job->model, kShown))});
  }
  apply_quality(request.quality_name, *model, *job);
  job->previews = static_cast<int>(request.stream ? partials : 0);
  request.job = std::move(*job);
  request.format = *picture_format(format);
  request.quality = static_cast<int>(compression);
  request.as_address = form == "url";
  return request;
}

Accepted<SentPictures> pictures_of(const std::vector<FormPart>& parts) {
  SentPictures sent;
  for (const FormPart& part : parts) {
    const bool is_image = part.name == "image" || part.name == "image[]";
    const std::string name = printable(part.name, kShown);
    if (!part.is_file && (is_image || part.name == "mask"))
      return invalid(is_image ? "image" : "mask",
                     fmt::format("{}: expected a file, which is a part with a filename, found a "
                                 "text field of {} bytes",
                                 name, part.data.size()));
    if (!part.is_file) continue;
    if (!is_image && part.name != "mask")
      return invalid(name, name + ": expected no file of that name, but image and mask");
    if (is_image && sent.image)
      return invalid("image", "image: found several, and a picture here begins from one");
    if (!is_image && sent.mask) return invalid("mask", "mask: is there twice");
    Accepted<RgbImage> image = is_image ? decode_sent_picture("image", part.data)
                                        : decode_sent_transparency("mask", part.data);
    if (!image) return tl::unexpected<Refusal>(std::move(image.error()));
    (is_image ? sent.image : sent.mask) = std::move(*image);
  }
  if (!sent.image) return invalid("image", "image: missing, expected a file of it in the form");
  if (sent.mask && std::all_of(sent.mask->pixels.begin(), sent.mask->pixels.end(),
                               [](uint8_t value) { return value == 0; }))
    return invalid("mask",
                   "mask: nothing in it is transparent; expected that of what is drawn anew");
  return sent;
}

}  // namespace

Accepted<OpenAiRequest> parse_openai_request(std::string_view text,
                                             const std::vector<ServedModel>& models) {
  const Json body = parse_request_json(text);
  if (!body.is_object())
    return invalid("", "the body: expected a JSON object with \"prompt\", in UTF-8");
  return read_body(body, models, nullptr);
}

Accepted<OpenAiRequest> parse_openai_edit(std::string_view body, std::string_view boundary,
                                          const std::vector<ServedModel>& models) {
  const Accepted<std::vector<FormPart>> parts = parse_form(body, boundary);
  if (!parts) return tl::unexpected<Refusal>(parts.error());
  // Before the fields, among which a picture without a filename would be no UTF-8.
  Accepted<SentPictures> sent = pictures_of(*parts);
  if (!sent) return tl::unexpected<Refusal>(std::move(sent.error()));
  const Accepted<Json> fields = form_fields(*parts);
  if (!fields) return tl::unexpected<Refusal>(fields.error());
  const bool has_mask = sent->mask.has_value();
  Accepted<OpenAiRequest> request =
      read_body(*fields, models, std::make_shared<const SentPictures>(std::move(*sent)));
  if (request && has_mask && !request->job.strength) request->job.strength = 1;
  return request;
}

}  // namespace intaglio::server
