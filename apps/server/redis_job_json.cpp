#include "server/redis_job_json.h"

#include <algorithm>

namespace intaglio::server {
namespace {

constexpr std::string_view kPicture = "picture:";  // before the index, a field of a job's hash

std::string text_of(const Json& object, const char* name) {
  const auto found = object.find(name);
  return found == object.end() || !found->is_string() ? "" : found->get<std::string>();
}

double number_of(const Json& object, const char* name) {
  return std::strtod(text_of(object, name).c_str(), nullptr);
}

int64_t whole_of(const Json& object, const char* name) {
  return std::strtoll(text_of(object, name).c_str(), nullptr, 10);
}

// As nlohmann-json reads them where they are of the type that `fallback` has.
template <typename T>
T value_of(const Json& object, const char* name, const T& fallback) {
  const auto found = object.find(name);
  if (found == object.end()) return fallback;
  if constexpr (std::is_same_v<T, std::string>) {
    return found->is_string() ? found->get<T>() : fallback;
  } else if constexpr (std::is_same_v<T, bool>) {
    return found->is_boolean() ? found->get<T>() : fallback;
  } else {
    return found->is_number() ? found->get<T>() : fallback;
  }
}

std::optional<JobState> state_of(const std::string& name) {
  const auto* const at = std::find(std::begin(kJobStateNames), std::end(kJobStateNames), name);
  if (at == std::end(kJobStateNames)) return std::nullopt;
  return static_cast<JobState>(at - std::begin(kJobStateNames));
}

Json parsed(std::string_view text) {
  Json json = Json::parse(text, nullptr, false);
  return json.is_object() ? json : Json(nullptr);
}

void read_pictures(const Json& object, RedisJob& job) {
  struct Entry {
    JobPicture picture;
    int64_t fence;
  };
  std::vector<Entry> all;
  for (const auto& [name, value] : object.items()) {
    if (!name.starts_with(kPicture) || !value.is_string()) continue;
    const Json p = parsed(value.get<std::string>());
    if (p.is_null()) continue;
    all.push_back({{.index = std::strtoll(name.c_str() + kPicture.size(), nullptr, 10),
                    .seed = value_of<uint64_t>(p, "seed", 0),
                    .width = value_of<int64_t>(p, "width", 0),
                    .height = value_of<int64_t>(p, "height", 0),
                    .bytes = value_of<uint64_t>(p, "bytes", 0)},
                   value_of<int64_t>(p, "fence", 0)});
  }
  std::sort(all.begin(), all.end(),
            [](const Entry& a, const Entry& b) { return a.picture.index < b.picture.index; });
  for (const Entry& one : all) {
    job.job.pictures.push_back(one.picture);
    job.drawn_by.push_back(one.fence);
  }
}

Expected<RedisJob> read_job(const Json& object) {
  RedisJob job;
  Job& j = job.job;
  j.id = text_of(object, "id");
  j.client = text_of(object, "client");
  const std::optional<JobState> state = state_of(text_of(object, "state"));
  Accepted<ForeignRequest> request = read_foreign_request(text_of(object, "request"));
  if (!state || !request)
    return make_error(ErrorCode::kBadFormat, "the queue has what is no job: \"{}\"{}", j.id,
                      request ? "" : ": " + request.error().message);
  j.state = *state;
  j.request = std::move(request->request);
  job.not_understood = std::move(request->not_understood);
  j.created = number_of(object, "created");
  j.started = number_of(object, "started");
  j.finished = number_of(object, "finished");
  if (const std::string code = text_of(object, "error_code"); !code.empty())
    j.error = JobError{code, text_of(object, "error_message")};
  job.revision = whole_of(object, "rev");
  job.fence = whole_of(object, "fence");
  job.attempts = static_cast<int>(whole_of(object, "attempts"));
  job.load = text_of(object, "load");
  read_pictures(object, job);
  return job;
}

std::optional<Drawn> read_drawn(const std::string& text) {
  const Json json = parsed(text);
  if (json.is_null()) return std::nullopt;
  Drawn drawn{.precision = value_of<std::string>(json, "precision", ""),
              .seconds = value_of<double>(json, "seconds", 0)};
  const auto phases = json.find("phase_ms");
  if (phases == json.end() || !phases->is_array()) return drawn;
  for (size_t i = 0; i < std::min(phases->size(), drawn.phase_ms.size()); ++i)
    if ((*phases)[i].is_number()) drawn.phase_ms[i] = (*phases)[i].get<double>();
  return drawn;
}

void read_progress(const Json& json, RedisJob& job) {
  job.job.id = value_of<std::string>(json, "id", "");
  job.fence = value_of<int64_t>(json, "fence", 0);
  JobProgress& p = job.job.progress;
  p.phase = value_of<std::string>(json, "phase", "");
  p.picture = value_of<int64_t>(json, "picture", 0);
  p.step = value_of<int64_t>(json, "step", 0);
  p.steps = value_of<int64_t>(json, "steps", 0);
  p.fraction = value_of<double>(json, "fraction", 0);
  if (const auto left = json.find("seconds_left"); left != json.end() && left->is_number())
    p.seconds_left = left->get<double>();
}

std::string message_of_progress(const Job& job, int64_t fence, const char* kind) {
  Json json{{"kind", kind}, {"fence", fence}};
  json.update(progress_json(job));
  return json_text(json);
}

}  // namespace

Expected<RedisJob> read_redis_job(std::string_view text) {
  const Json json = parsed(text);
  if (json.is_null()) return make_error(ErrorCode::kBadFormat, "the queue has what is no job");
  return read_job(json);
}

std::string picture_text(const JobPicture& picture, int64_t fence) {
  return json_text({{"seed", picture.seed},
                    {"width", picture.width},
                    {"height", picture.height},
                    {"bytes", picture.bytes},
                    {"fence", fence}});
}

std::string drawn_text(const Drawn& drawn) {
  return json_text(
      {{"precision", drawn.precision}, {"seconds", drawn.seconds}, {"phase_ms", drawn.phase_ms}});
}

std::string progress_message(const Job& job, int64_t fence) {
  return message_of_progress(job, fence, "progress");
}

std::string preview_message(const Job& job, int64_t fence, const std::string& png) {
  return message_of_progress(job, fence, "preview") + "\n" + png;
}

std::optional<RedisEvent> read_redis_event(std::string_view message) {
  using Kind = RedisEvent::Kind;
  const size_t line = std::min(message.find('\n'), message.size());
  const Json json = parsed(message.substr(0, line));
  if (json.is_null()) return std::nullopt;
  const std::string kind = text_of(json, "kind");
  RedisEvent event;
  if (kind == "progress" || kind == "preview") {
    event.kind = kind == "progress" ? Kind::kProgress : Kind::kPreview;
    read_progress(json, event.job);
    if (event.kind == Kind::kPreview)
      event.preview =
          std::make_shared<const std::string>(message.substr(std::min(line + 1, message.size())));
    return event;
  }
  const auto job = json.find("job");
  if (job == json.end() || !job->is_object()) return std::nullopt;
  if (kind == "removed") {
    event.kind = Kind::kRemoved;
    event.job.job.id = text_of(*job, "id");
    return event;
  }
  constexpr std::pair<std::string_view, Kind> kKinds[] = {
      {"state", Kind::kState}, {"picture", Kind::kPicture}, {"cancel", Kind::kCancel}};
  const auto* const known = std::find_if(std::begin(kKinds), std::end(kKinds),
                                         [&](const auto& k) { return k.first == kind; });
  if (known == std::end(kKinds)) return std::nullopt;
  event.kind = known->second;
  Expected<RedisJob> read = read_job(*job);
  if (!read) return std::nullopt;
  event.job = std::move(*read);
  if (event.kind == Kind::kPicture) event.drawn = read_drawn(text_of(json, "drawn"));
  return event;
}

std::string worker_text(const WorkerState& worker) {
  Json models = Json::array();
  for (const WorkerState::Model& model : worker.models)
    models.push_back(
        {{"name", model.name}, {"precision", model.precision}, {"loaded", model.loaded}});
  return json_text({{"name", worker.name},
                    {"device", worker.device},
                    {"device_bytes", worker.device_bytes},
                    {"models", std::move(models)}});
}

std::optional<WorkerState> read_worker(std::string_view text) {
  const Json json = parsed(text);
  if (json.is_null()) return std::nullopt;
  WorkerState worker{.name = value_of<std::string>(json, "name", ""),
                     .device = value_of<std::string>(json, "device", ""),
                     .models = {},
                     .device_bytes = value_of<uint64_t>(json, "device_bytes", 0)};
  const auto models = json.find("models");
  if (models == json.end() || !models->is_array()) return worker;
  for (const Json& model : *models) {
    if (!model.is_object()) continue;
    worker.models.push_back({.name = value_of<std::string>(model, "name", ""),
                             .precision = value_of<std::string>(model, "precision", ""),
                             .loaded = value_of<bool>(model, "loaded", false)});
  }
  return worker;
}

}  // namespace intaglio::server
