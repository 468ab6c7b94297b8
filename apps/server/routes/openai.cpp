// Pictures and models as OpenAI's clients know them: /v1/.
#include <ctime>

#include "core/base64.h"
#include "server/job_json.h"
#include "server/multipart.h"
#include "server/routes/job_watch.h"
#include "server/routes/openai_request.h"
#include "server/routes/site.h"

namespace intaglio::server {
namespace {

using ExchangePtr = std::shared_ptr<Exchange>;

// A request while its job goes on.
struct Generation {
  Site& site;
  OpenAiRequest request;
  Job job;
  std::string_view events = "image_generation";  // what their names begin with
  std::time_t created = std::time(nullptr);
  int partials = 0;  // that were sent
};

std::string quality_of(const OpenAiRequest& request) {
  if (request.quality_name == "hd") return "high";
  return request.quality_name == "standard" ? "auto" : request.quality_name;
}

std::string size_of(const Job& job) {
  return fmt::format("{}x{}", job.request.width.value_or(0), job.request.height.value_or(0));
}

// Tokens of pictures, as the transformer counts them; text is not counted.
Json usage_of(const Generation& generation, int64_t pictures) {
  int64_t side = 16;
  for (const ServedModel& model : generation.site.jobs.models())
    if (model.name == generation.job.request.model) side = model.info.pixels_per_token;
  const int64_t tokens = pictures * (generation.job.request.width.value_or(0) / side) *
                         (generation.job.request.height.value_or(0) / side);
  return {{"input_tokens", 0},
          {"input_tokens_details", {{"image_tokens", 0}, {"text_tokens", 0}}},
          {"output_tokens", tokens},
          {"output_tokens_details", {{"image_tokens", tokens}, {"text_tokens", 0}}},
          {"total_tokens", tokens}};
}

Json picture_fields(const Generation& generation) {
  return {{"background", "opaque"},
          {"output_format", picture_format_name(generation.request.format)},
          {"quality", quality_of(generation.request)},
          {"size", size_of(generation.job)}};
}

// In the format that was asked for.
Expected<std::string> encoded(const Generation& generation, const JobPicture& picture) {
  const std::string png = picture_bytes(generation.site.jobs, generation.job.id, picture.index);
  if (png.empty()) return make_error(ErrorCode::kNotFound, "the picture was removed");
  INTAGLIO_ASSIGN(const std::string bytes,
                  encode_picture(png, generation.request.format, generation.request.quality));
  return base64(bytes);
}

std::string address_of(const Generation& generation, const Request& request,
                       const JobPicture& picture) {
  const std::string path =
      fmt::format("/api/jobs/{}/pictures/{}.png", generation.job.id, picture.index);
  const AccessRules& rules = generation.site.router.rules();
  return base_address(request) + path +
         (rules.token.empty() ? "" : "?key=" + address_key(rules, path));
}

// Why a job has no pictures.
Response failure(std::string_view path, const std::optional<Job>& job) {
  if (!job) return refuse(path, 409, "the job was removed before it was done");
  if (job->state == JobState::kCancelled)
    return refuse(path, 409, "the job was cancelled before it was done", "", "cancelled");
  const JobError error = job->error.value_or(JobError{"internal", "the job failed"});
  const int status = error.code == error_code_name(ErrorCode::kInvalidArgument) ? 400 : 500;
  return refuse(path, status, error.message, "", error.code);
}

Response all_pictures(Generation& generation, const Request& request) {
  Json data = Json::array();
  for (const JobPicture& picture : generation.job.pictures) {
    if (generation.request.as_address) {
      data.push_back({{"url", address_of(generation, request, picture)}, {"seed", picture.seed}});
      continue;
    }
    Expected<std::string> text = encoded(generation, picture);
    if (!text) return refuse(request.path, 500, text.error().message);
    data.push_back({{"b64_json", std::move(*text)}, {"seed", picture.seed}});
  }
  Json body{{"created", generation.created}};
  body.update(picture_fields(generation));
  body["usage"] = usage_of(generation, static_cast<int64_t>(data.size()));
  if (!generation.job.request.warnings.empty()) body["warnings"] = generation.job.request.warnings;
  body["data"] = std::move(data);
  return json_response(200, body);
}

void send(EventStream& stream, std::string_view what, const Generation& generation,
          const Json& event) {
  const std::string type = fmt::format("{}.{}", generation.events, what);
  Json whole{{"type", type}, {"created_at", generation.created}};
  whole.update(picture_fields(generation));
  whole.update(event);
  stream.send(type, json_text(whole));
}

void send_partial(Generation& generation, EventStream& stream, const std::string& png) {
  if (generation.partials >= generation.request.job.previews) return;
  const Expected<std::string> bytes =
      encode_picture(png, generation.request.format, generation.request.quality);
  if (!bytes) return;
  send(stream, "partial_image", generation,
       {{"b64_json", base64(*bytes)}, {"partial_image_index", generation.partials++}});
}

void send_end(Generation& generation, EventStream& stream, const std::optional<Job>& job) {
  const auto fail = [&](const Response& response) {
    Json event = Json::parse(std::get<std::string>(response.body));
    event["type"] = "error";
    stream.send("error", json_text(event));
  };
  if (!job || job->state != JobState::kDone) {
    fail(failure("/v1/", job));
  } else {
    generation.job = *job;
    for (const JobPicture& picture : job->pictures) {
      Expected<std::string> text = encoded(generation, picture);
      if (!text) {
        fail(refuse("/v1/", 500, text.error().message));
        break;
      }
      send(stream, "completed", generation,
           {{"b64_json", std::move(*text)},
            {"seed", picture.seed},
            {"usage", usage_of(generation, 1)}});
    }
  }
  stream.finish();
}

void answer_as_stream(Site& site, const ExchangePtr& exchange,
                      const std::shared_ptr<Generation>& generation) {
  auto stream = std::make_shared<EventStream>();
  const std::string id = generation->job.id;
  // Of one that has ended nothing is left to cancel.
  stream->on_closed([&site, id] { site.pool.post_always([&site, id] { site.jobs.cancel(id); }); });
  Response response{.body = stream};
  response.set("Content-Type", "text/event-stream");
  response.set("X-Accel-Buffering", "no");
  response.set("X-Job-Id", id);
  exchange->respond(std::move(response));
  await_job(
      site, id,
      [generation, stream](const std::optional<Job>& job) { send_end(*generation, *stream, job); },
      [generation, stream](const Job&, const std::shared_ptr<const std::string>& png) {
        send_partial(*generation, *stream, *png);
      });
}

void draw(Site& site, const ExchangePtr& exchange, Accepted<OpenAiRequest> wanted,
          std::string_view events) {
  const Request& request = exchange->request();
  if (!wanted) {
    const bool no_model = wanted.error().reason == Refusal::Reason::kNotFound;
    return exchange->respond(
        no_model ? refuse(request.path, 404, wanted.error().message, "model", "model_not_found")
                 : refuse(request.path, wanted.error()));
  }
  exchange->drop_body();
  const Accepted<Job> job = site.jobs.submit(wanted->job, request.peer);
  if (!job) return exchange->respond(refuse(request.path, as_openai(job.error())));
  wanted->job.sent.reset();
  const auto generation =
      std::make_shared<Generation>(Generation{site, std::move(*wanted), *job, events});
  if (generation->request.stream) return answer_as_stream(site, exchange, generation);
  cancel_if_gone(site, *exchange, job->id);
  await_job(site, job->id, [generation, exchange](const std::optional<Job>& ended) {
    const std::string& path = exchange->request().path;
    if (!ended || ended->state != JobState::kDone) return exchange->respond(failure(path, ended));
    generation->job = *ended;
    Response response = all_pictures(*generation, exchange->request());
    response.set("X-Job-Id", ended->id);
    exchange->respond(std::move(response));
  });
}

void generate(Site& site, const ExchangePtr& exchange) {
  draw(site, exchange, parse_openai_request(exchange->request().body, site.jobs.models()),
       "image_generation");
}

void edit(Site& site, const ExchangePtr& exchange) {
  const Request& request = exchange->request();
  const std::optional<std::string> boundary = form_boundary(request.header("content-type"));
  if (!boundary)
    return exchange->respond(
        refuse(request.path, 415, "Content-Type: expected multipart/form-data"));
  draw(site, exchange, parse_openai_edit(request.body, *boundary, site.jobs.models()),
       "image_edit");
}

Json model_json(const ServedModel& model) {
  return {{"id", model.name}, {"object", "model"}, {"created", 0}, {"owned_by", "intaglio"}};
}

void list_models(Site& site, const ExchangePtr& exchange) {
  Json data = Json::array();
  for (const ServedModel& model : site.jobs.models()) data.push_back(model_json(model));
  exchange->respond(json_response(200, {{"object", "list"}, {"data", std::move(data)}}));
}

void show_model(Site& site, const ExchangePtr& exchange, const std::string& name) {
  for (const ServedModel& model : site.jobs.models())
    if (model.name == name) return exchange->respond(json_response(200, model_json(model)));
  exchange->respond(refuse(exchange->request().path, 404,
                           "model: there is none of that name; /v1/models lists them", "model",
                           "model_not_found"));
}

}  // namespace

void add_openai_routes(Site& site) {
  Router& router = site.router;
  router.add("POST", "/v1/images/generations", Access::kToken, Where::kPool,
             [&site](const ExchangePtr& e, const Parts&) { generate(site, e); });
  router.add(
      "POST", "/v1/images/edits", Access::kToken, Where::kPool,
      [&site](const ExchangePtr& e, const Parts&) { edit(site, e); }, Uploads::kPictures);
  router.add("GET", "/v1/models", Access::kToken, Where::kPool,
             [&site](const ExchangePtr& e, const Parts&) { list_models(site, e); });
  router.add("GET", "/v1/models/{id}", Access::kToken, Where::kPool,
             [&site](const ExchangePtr& e, const Parts& p) { show_model(site, e, p[0]); });
}

}  // namespace intaglio::server
