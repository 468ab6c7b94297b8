// AUTOMATIC1111's API as far as its clients (Open WebUI, SillyTavern) go: /sdapi/v1/.
#include <mutex>

#include "core/base64.h"
#include "server/job_json.h"
#include "server/refusal.h"
#include "server/routes/a1111_request.h"
#include "server/routes/job_watch.h"
#include "server/routes/site.h"

namespace intaglio::server {
namespace {

using ExchangePtr = std::shared_ptr<Exchange>;

// What these clients expect the server to remember: the model they chose, their job.
struct State {
  std::mutex mutex;
  std::string model;                         // empty: the first
  std::string job;                           // the one under way; empty: none
  std::shared_ptr<const std::string> image;  // its last preview, a PNG; nullptr: none yet
};

constexpr int kPreviews = 4;  // of a picture, as the page asks for

// As this API's own server reads a flag of a query.
bool is_set(const Request& request, const std::string& name) {
  const auto found = request.query.find(name);
  if (found == request.query.end()) return false;
  std::string value = found->second;
  for (char& c : value)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
  return value == "true" || value == "1" || value == "yes" || value == "on" || value == "t" ||
         value == "y";
}

Response failure(std::string_view path, const std::optional<Job>& job) {
  if (job && job->error) return refuse(path, 500, job->error->message, "", job->error->code);
  return refuse(path, 500, "the job was cancelled or removed before it was done");
}

Json pictures_json(Site& site, const Job& job) {
  Json images = Json::array(), texts = Json::array(), seeds = Json::array();
  for (const JobPicture& picture : job.pictures) {
    const std::string png = picture_bytes(site.jobs, job.id, picture.index);
    images.push_back(base64(png));
    texts.push_back(png_text(png, "parameters"));
    seeds.push_back(picture.seed);
  }
  const JobRequest& request = job.request;
  const Json prompts(std::vector<std::string>(job.pictures.size(), request.prompt));
  const Json info{{"prompt", request.prompt},
                  {"all_prompts", prompts},
                  {"negative_prompt", request.negative_prompt.value_or("")},
                  {"seed", request.seed.value_or(0)},
                  {"all_seeds", std::move(seeds)},
                  {"width", request.width.value_or(0)},
                  {"height", request.height.value_or(0)},
                  {"sampler_name", "Euler"},
                  {"steps", request.steps.value_or(0)},
                  {"batch_size", job.pictures.size()},
                  {"sd_model_name", request.model},
                  {"infotexts", std::move(texts)}};
  Json parameters = request_json(request);
  if (!request.warnings.empty()) parameters["warnings"] = request.warnings;
  return {{"images", std::move(images)},
          {"parameters", std::move(parameters)},
          {"info", json_text(info)}};
}

std::string chosen_model(State& state) {
  std::lock_guard lock(state.mutex);
  return state.model;
}

Refusal as_a1111(const Refusal& refusal) {
  return renamed(
      renamed(renamed(refusal, "init_image", "init_images"), "strength", "denoising_strength"),
      "guidance", "cfg_scale");
}

// `more`: of the answer's parameters.
void draw(Site& site, State& state, const ExchangePtr& exchange, JobRequest wanted,
          const Json& more) {
  const Request& request = exchange->request();
  wanted.previews = kPreviews;
  const Accepted<Job> job = site.jobs.submit(wanted, request.peer);
  if (!job) return exchange->respond(refuse(request.path, as_a1111(job.error())));
  {
    std::lock_guard lock(state.mutex);
    state.job = job->id;
    state.image = nullptr;
  }
  cancel_if_gone(site, *exchange, job->id);
  const auto done = [&site, &state, exchange, more](const std::optional<Job>& ended) {
    if (ended) {
      std::lock_guard lock(state.mutex);
      if (state.job == ended->id) {
        state.job.clear();
        state.image = nullptr;
      }
    }
    if (!ended || ended->state != JobState::kDone)
      return exchange->respond(failure(exchange->request().path, ended));
    Json answer = pictures_json(site, *ended);
    answer["parameters"].update(more);
    exchange->respond(json_response(200, answer));
  };
  await_job(site, job->id, done,
            [&state](const Job& drawn, const std::shared_ptr<const std::string>& png) {
              std::lock_guard lock(state.mutex);
              if (state.job == drawn.id) state.image = png;
            });
}

void draw_from_text(Site& site, State& state, const ExchangePtr& exchange) {
  const Request& request = exchange->request();
  Accepted<JobRequest> wanted =
      parse_a1111_request(request.body, site.jobs.models(), chosen_model(state));
  if (!wanted) return exchange->respond(refuse(request.path, wanted.error()));
  draw(site, state, exchange, std::move(*wanted), Json::object());
}

void draw_from_picture(Site& site, State& state, const ExchangePtr& exchange) {
  const Request& request = exchange->request();
  Accepted<A1111Img2Img> wanted =
      parse_a1111_img2img(request.body, site.jobs.models(), chosen_model(state));
  if (!wanted) return exchange->respond(refuse(request.path, wanted.error()));
  const Json more{{"init_images", std::move(wanted->init_images)},
                  {"mask", std::move(wanted->mask)},
                  {"denoising_strength", wanted->job.strength.value_or(0)}};
  exchange->drop_body();
  draw(site, state, exchange, std::move(wanted->job), more);
}

std::optional<Job> job_under_way(Site& site, State& state) {
  std::string id;
  {
    std::lock_guard lock(state.mutex);
    id = state.job;
  }
  return id.empty() ? std::nullopt : site.jobs.get(id);
}

void progress(Site& site, State& state, const ExchangePtr& exchange) {
  const std::optional<Job> job = job_under_way(site, state);
  const JobProgress progress = job ? job->progress : JobProgress();
  const int64_t count = job ? job->request.count : 0;
  std::shared_ptr<const std::string> image;
  if (job && !is_set(exchange->request(), "skip_current_image")) {
    std::lock_guard lock(state.mutex);
    if (state.job == job->id) image = state.image;
  }
  exchange->respond(
      json_response(200, {{"progress", progress.fraction},
                          {"eta_relative", progress.seconds_left.value_or(0)},
                          {"state",
                           {{"skipped", false},
                            {"interrupted", false},
                            {"stopping_generation", false},
                            {"job", job ? job->id : ""},
                            {"job_count", count},
                            {"job_timestamp", job ? time_json(job->created) : Json("0")},
                            {"job_no", progress.picture},
                            {"sampling_step", progress.step},
                            {"sampling_steps", progress.steps}}},
                          {"current_image", image ? Json(base64(*image)) : Json(nullptr)},
                          {"textinfo", job && job->state == JobState::kQueued
                                           ? Json(fmt::format("in the queue: {}", job->position))
                                           : Json(nullptr)}}));
}

Json options_json(Site& site, State& state) {
  const std::vector<ServedModel> models = site.jobs.models();
  std::lock_guard lock(state.mutex);
  const std::string first = models.empty() ? "" : models.front().name;
  return {{"sd_model_checkpoint", state.model.empty() ? first : state.model},
          {"samples_format", "png"},
          {"sd_vae", "Automatic"},
          {"CLIP_stop_at_last_layers", 1}};
}

void set_options(Site& site, State& state, const ExchangePtr& exchange) {
  const Request& request = exchange->request();
  const Json body = parse_request_json(request.body);
  if (!body.is_object())
    return exchange->respond(refuse(request.path, 422, "the body: expected a JSON object"));
  if (const auto model = body.find("sd_model_checkpoint");
      model != body.end() && !model->is_null()) {
    if (!model->is_string())
      return exchange->respond(refuse(
          request.path, 422,
          fmt::format("sd_model_checkpoint: expected a string, found {}", shown_json(*model))));
    const std::optional<std::string> name =
        a1111_model(model->get<std::string>(), site.jobs.models());
    if (!name) {
      return exchange->respond(refuse(request.path, 404,
                                      "sd_model_checkpoint: there is no such model; "
                                      "/sdapi/v1/sd-models lists them"));
    }
    std::lock_guard lock(state.mutex);
    state.model = *name;
  }
  exchange->respond(json_response(200, nullptr));
}

Json models_json(const Site& site) {
  Json list = Json::array();
  for (const ServedModel& model : site.jobs.models()) {
    list.push_back({{"title", model.name},
                    {"model_name", model.name},
                    {"hash", nullptr},
                    {"sha256", nullptr},
                    {"filename", model.name},
                    {"config", nullptr}});
  }
  return list;
}

Json loras_json(const Site& site) {
  Json list = Json::array();
  for (const std::string& name : site.jobs.loras())
    list.push_back({{"name", name}, {"alias", name}, {"path", name}, {"metadata", Json::object()}});
  return list;
}

void read_info(const ExchangePtr& exchange) {
  const Request& request = exchange->request();
  const Json body = parse_request_json(request.body);
  const auto image = body.is_object() ? body.find("image") : body.end();
  if (!body.is_object() || image == body.end() || !image->is_string())
    return exchange->respond(refuse(request.path, 422, "image: expected a PNG in base64"));
  const std::optional<std::string> png = decoded_base64(image->get<std::string>());
  if (!png) return exchange->respond(refuse(request.path, 422, "image: expected base64"));
  Json items = Json::object();
  for (const auto& [name, text] : png_texts(*png)) items[name] = text;
  const std::string parameters = png_text(*png, "parameters");
  exchange->respond(json_response(
      200, {{"info", parameters}, {"items", std::move(items)}, {"parameters", Json::object()}}));
}

}  // namespace

void add_a1111_routes(Site& site) {
  const auto state = std::make_shared<State>();
  const auto add = [&site, state](const char* method, const char* pattern, auto handler,
                                  Uploads uploads = Uploads::kNone) {
    site.router.add(
        method, pattern, Access::kToken, Where::kPool,
        [&site, state, handler](const ExchangePtr& e, const Parts&) { handler(site, *state, e); },
        uploads);
  };
  const auto add_json = [&add](const char* pattern, auto make) {
    add("GET", pattern, [make](Site& s, State& st, const ExchangePtr& e) {
      e->respond(json_response(200, make(s, st)));
    });
  };
  add("POST", "/sdapi/v1/txt2img", draw_from_text);
  add("POST", "/sdapi/v1/img2img", draw_from_picture, Uploads::kPictures);
  add("GET", "/sdapi/v1/progress", progress);
  add("POST", "/sdapi/v1/interrupt", [](Site& s, State& st, const ExchangePtr& e) {
    if (const std::optional<Job> job = job_under_way(s, st)) s.jobs.cancel(job->id);
    e->respond(json_response(200, Json::object()));
  });
  add("POST", "/sdapi/v1/options", set_options);
  add(
      "POST", "/sdapi/v1/png-info", [](Site&, State&, const ExchangePtr& e) { read_info(e); },
      Uploads::kPictures);
  add_json("/sdapi/v1/options", [](Site& s, State& st) { return options_json(s, st); });
  add_json("/sdapi/v1/sd-models", [](Site& s, State&) { return models_json(s); });
  add_json("/sdapi/v1/loras", [](Site& s, State&) { return loras_json(s); });
  add_json("/sdapi/v1/samplers", [](Site&, State&) {
    return Json::array({{{"name", "Euler"}, {"aliases", {"euler"}}, {"options", Json::object()}}});
  });
  add_json("/sdapi/v1/schedulers", [](Site&, State&) {
    return Json::array({{{"name", "automatic"},
                         {"label", "Automatic"},
                         {"aliases", nullptr},
                         {"default_rho", -1.0},
                         {"need_inner_model", false}}});
  });
  // What clients ask for at their start and this server has none of.
  for (const char* pattern :
       {"/sdapi/v1/upscalers", "/sdapi/v1/latent-upscale-modes", "/sdapi/v1/sd-vae"}) {
    add_json(pattern, [](Site&, State&) { return Json::array(); });
  }
}

}  // namespace intaglio::server
