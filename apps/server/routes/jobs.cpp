// The own API: /api/.
#include <algorithm>
#include <charconv>

#include "io/printable.h"
#include "server/input_pictures.h"
#include "server/job_id.h"
#include "server/job_json.h"
#include "server/multipart.h"
#include "server/refusal.h"
#include "server/routes/job_watch.h"
#include "server/routes/site.h"

namespace intaglio::server {
namespace {

using ExchangePtr = std::shared_ptr<Exchange>;

Json model_json(const ServedModel& model, bool is_default) {
  Json presets = Json::array();
  for (const Preset& preset : model.info.presets)
    presets.push_back({{"name", preset.name}, {"steps", preset.steps}});
  Json masks = Json::array();
  for (const ServedMask& mask : model.masks)
    masks.push_back({{"name", mask.name}, {"steps", mask.steps}, {"share", mask.share}});
  return {{"name", model.name},
          {"default", is_default},
          {"precision", model.precision},
          {"default_width", model.info.default_width},
          {"default_height", model.info.default_height},
          {"multiple_of", model.info.pixels_per_token},
          {"default_steps", model.info.default_steps},
          {"presets", std::move(presets)},
          {"masks", std::move(masks)},
          {"negative_prompt", model.info.negative_prompt_refusal.empty()},
          {"guidance", model.info.unguided_reason.empty()},
          {"progressive", true},
          {"init_image", model.info.takes_init_picture},
          {"loaded", model.loaded}};
}

Json info_json(const Site& site) {
  const std::vector<ServedModel> models = site.jobs.models();
  const JobLimits& limits = site.jobs.limits();
  Json list = Json::array();
  for (const ServedModel& model : models) list.push_back(model_json(model, list.empty()));
  return {{"version", site.version},
          {"device", site.jobs.device()},
          {"precision", models.empty() ? "" : models.front().precision},
          {"limits",
           {{"count", limits.count},
            {"prompt_bytes", limits.prompt_bytes},
            {"pixels", limits.pixels},
            {"steps", limits.steps},
            {"upload_bytes", HttpLimits{}.upload_bytes}}},
          {"models", std::move(list)},
          {"loras", site.jobs.loras()}};
}

// Fields as of the JSON object, pictures as files.
Accepted<JobRequest> read_form(const Request& request, const std::string& boundary) {
  const Accepted<std::vector<FormPart>> parts = parse_form(request.body, boundary);
  if (!parts) return tl::unexpected<Refusal>(parts.error());
  const Accepted<Json> fields = form_fields(*parts);
  if (!fields) return tl::unexpected<Refusal>(fields.error());
  SentPictures sent;
  for (const FormPart& part : *parts) {
    if (!part.is_file) continue;
    const bool is_mask = part.name == "mask";
    std::optional<RgbImage>& target = is_mask ? sent.mask : sent.image;
    const std::string name = printable(part.name);
    if (!is_mask && part.name != "init_image")
      return invalid(name, name + ": expected no file of that name, but init_image and mask");
    if (target || fields->contains(part.name)) return invalid(name, name + ": is there twice");
    Accepted<RgbImage> image = decode_sent_picture(name, part.data);
    if (!image) return tl::unexpected<Refusal>(std::move(image.error()));
    target = std::move(*image);
  }
  const bool has_files = sent.image || sent.mask;
  return parse_job_request(
      json_text(*fields),
      has_files ? std::make_shared<const SentPictures>(std::move(sent)) : nullptr);
}

void create(Site& site, const ExchangePtr& exchange) {
  const Request& request = exchange->request();
  const std::string_view type = request.header("content-type");
  const std::optional<std::string> boundary = form_boundary(type);
  if (!boundary && !type.empty() && !type.starts_with("application/json"))
    return exchange->respond(refuse(
        request.path, 415, "Content-Type: expected application/json or multipart/form-data"));
  const Accepted<JobRequest> wanted =
      boundary ? read_form(request, *boundary) : parse_job_request(request.body);
  if (!wanted) return exchange->respond(refuse(request.path, wanted.error()));
  const Accepted<Job> job = site.jobs.submit(*wanted, request.peer);
  if (!job) return exchange->respond(refuse(request.path, job.error()));
  Response response = json_response(201, job_json(*job));
  response.set("Location", "/api/jobs/" + job->id);
  exchange->respond(std::move(response));
}

// Fills `query`, or says what is wrong.
std::optional<Response> read_query(const Request& request, JobQuery& query) {
  constexpr int64_t kMostJobs = 500;
  const auto wrong = [&](const std::string& name, std::string_view message) {
    return refuse(request.path, 400, message, name);
  };
  for (const auto& [name, value] : request.query) {
    if (name == "status") {
      const auto* const at = std::find(std::begin(kJobStateNames), std::end(kJobStateNames), value);
      if (at == std::end(kJobStateNames))
        return wrong(name, "status: expected queued, running, done, failed or cancelled");
      query.state = static_cast<JobState>(at - std::begin(kJobStateNames));
    } else if (name == "q") {
      query.text = value;
    } else if (name == "before") {
      if (!is_job_id(value)) return wrong(name, "before: expected a job's id");
      query.before = value;
    } else if (name == "limit") {
      const char* const end = value.data() + value.size();
      const auto [rest, error] = std::from_chars(value.data(), end, query.limit);
      if (error != std::errc() || rest != end || query.limit < 1 || query.limit > kMostJobs)
        return wrong(name, fmt::format("limit: expected a whole number from 1 to {}", kMostJobs));
    } else {
      return wrong(name, "query: expected status, q, before and limit, found another name");
    }
  }
  return std::nullopt;
}

void list(Site& site, const ExchangePtr& exchange) {
  JobQuery query;
  if (std::optional<Response> refusal = read_query(exchange->request(), query))
    return exchange->respond(std::move(*refusal));
  const std::vector<Job> jobs = site.jobs.list(query);
  const std::string& path = exchange->request().path;
  if (jobs.empty() && !site.jobs.outage().empty())
    return exchange->respond(refuse_missing(site, path, ""));
  Json items = Json::array();
  for (const Job& job : jobs) items.push_back(job_json(job));
  const bool more = static_cast<int64_t>(jobs.size()) == query.limit;
  exchange->respond(json_response(
      200, {{"jobs", std::move(items)}, {"next", more ? Json(jobs.back().id) : Json(nullptr)}}));
}

// The job of the path; nullopt has been answered.
std::optional<Job> find_job(Site& site, const ExchangePtr& exchange, const std::string& id) {
  std::optional<Job> job;
  if (is_job_id(id)) job = site.jobs.get(id);
  if (!job)
    exchange->respond(refuse_missing(site, exchange->request().path, "id: there is no such job"));
  return job;
}

void remove(Site& site, const ExchangePtr& exchange, const std::string& id) {
  if (!find_job(site, exchange, id)) return;
  if (site.jobs.remove(id)) return exchange->respond({.status = 204});
  const std::string& path = exchange->request().path;
  if (!site.jobs.outage().empty()) return exchange->respond(refuse_missing(site, path, ""));
  exchange->respond(
      refuse(path, 409, "the job has not ended; cancel it first, then it can be removed"));
}

void cancel(Site& site, const ExchangePtr& exchange, const std::string& id) {
  if (!find_job(site, exchange, id)) return;
  const bool cancelled = site.jobs.cancel(id);
  const std::optional<Job> job = find_job(site, exchange, id);
  if (!job) return;
  const std::string& path = exchange->request().path;
  if (!cancelled && !site.jobs.outage().empty())
    return exchange->respond(refuse_missing(site, path, ""));
  if (!cancelled) return exchange->respond(refuse(path, 409, "the job has ended already"));
  exchange->respond(json_response(200, job_json(*job)));
}

void picture(Site& site, const ExchangePtr& exchange, const std::string& id,
             std::string_view name) {
  constexpr std::string_view kEnd = ".png";
  constexpr size_t kLongest = 12;
  std::filesystem::path path;
  if (is_job_id(id) && name.size() <= kLongest && name.ends_with(kEnd)) {
    name.remove_suffix(kEnd.size());
    int64_t index = -1;
    const char* const end = name.data() + name.size();
    const auto [rest, error] = std::from_chars(name.data(), end, index);
    if (error == std::errc() && rest == end && index >= 0) path = site.jobs.picture(id, index);
  }
  if (path.empty())
    return exchange->respond(
        refuse_missing(site, exchange->request().path, "there is no such picture"));
  Response response{.body = FileBody{path}};
  response.set("Content-Type", "image/png");
  response.set("Cache-Control", "private, max-age=31536000, immutable");
  exchange->respond(std::move(response));
}

// What a job begins from, or its mask.
void input(Site& site, const ExchangePtr& exchange, const std::string& id,
           std::optional<KeptPicture> JobRequest::*which) {
  const std::optional<Job> job = find_job(site, exchange, id);
  if (!job) return;
  const std::optional<KeptPicture>& picture = job->request.*which;
  Expected<std::filesystem::path> file = make_error(ErrorCode::kNotFound, "the job has none");
  if (picture) file = site.jobs.input(picture->id);
  if (!file)
    return exchange->respond(
        refuse_missing(site, exchange->request().path, "there is no such picture"));
  Response response{.body = FileBody{*file}};
  response.set("Content-Type", "image/png");
  response.set("Cache-Control", "private, max-age=31536000, immutable");
  exchange->respond(std::move(response));
}

void events(Site& site, const ExchangePtr& exchange, const std::string& id) {
  std::shared_ptr<EventStream> stream;
  if (id.empty() || is_job_id(id)) stream = watch_jobs(site, id);
  if (!stream)
    return exchange->respond(
        refuse_missing(site, exchange->request().path, "id: there is no such job"));
  if (id.empty()) {
    // So that a page that connects again misses nothing.
    for (const JobState state : {JobState::kRunning, JobState::kQueued}) {
      for (const Job& job :
           site.jobs.list({.state = state, .text = "", .before = "", .limit = 500}))
        stream->send("state", json_text(job_json(job)));
    }
  }
  Response response{.body = stream};
  response.set("Content-Type", "text/event-stream");
  response.set("X-Accel-Buffering", "no");
  exchange->respond(std::move(response));
}

}  // namespace

void add_job_routes(Site& site) {
  const auto add = [&site](const char* method, const char* pattern, auto handler) {
    site.router.add(method, pattern, Access::kToken, Where::kPool,
                    [&site, handler](const ExchangePtr& exchange, const Parts& parts) {
                      handler(site, exchange, parts);
                    });
  };
  add("GET", "/api/info", [](Site& s, const ExchangePtr& e, const Parts&) {
    e->respond(json_response(200, info_json(s)));
  });
  site.router.add(
      "POST", "/api/jobs", Access::kToken, Where::kPool,
      [&site](const ExchangePtr& e, const Parts&) { create(site, e); }, Uploads::kPictures);
  add("GET", "/api/jobs", [](Site& s, const ExchangePtr& e, const Parts&) { list(s, e); });
  add("GET", "/api/jobs/{id}", [](Site& s, const ExchangePtr& e, const Parts& p) {
    if (const std::optional<Job> job = find_job(s, e, p[0]))
      e->respond(json_response(200, job_json(*job)));
  });
  add("DELETE", "/api/jobs/{id}",
      [](Site& s, const ExchangePtr& e, const Parts& p) { remove(s, e, p[0]); });
  add("POST", "/api/jobs/{id}/cancel",
      [](Site& s, const ExchangePtr& e, const Parts& p) { cancel(s, e, p[0]); });
  add("GET", "/api/jobs/{id}/events",
      [](Site& s, const ExchangePtr& e, const Parts& p) { events(s, e, p[0]); });
  add("GET", "/api/events", [](Site& s, const ExchangePtr& e, const Parts&) { events(s, e, ""); });
  site.router.add("GET", "/api/jobs/{id}/pictures/{file}", Access::kTokenOrKey, Where::kPool,
                  [&site](const ExchangePtr& e, const Parts& p) { picture(site, e, p[0], p[1]); });
  const auto add_input = [&site](const char* pattern,
                                 std::optional<KeptPicture> JobRequest::*which) {
    site.router.add(
        "GET", pattern, Access::kTokenOrKey, Where::kPool,
        [&site, which](const ExchangePtr& e, const Parts& p) { input(site, e, p[0], which); });
  };
  add_input("/api/jobs/{id}/init_image.png", &JobRequest::init_image);
  add_input("/api/jobs/{id}/mask.png", &JobRequest::mask);
}

}  // namespace intaglio::server
