#include "server/job_json.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <ctime>
#include <limits>
#include <set>

#include "io/json_config.h"
#include "io/printable.h"
#include "server/input_pictures.h"
#include "server/refusal.h"

namespace intaglio::server {
namespace {

constexpr int kMostPriority = 1000;
constexpr int kMostPreviews = 1000;
constexpr int kMostDepth = 32;
constexpr size_t kMostStructure = 1 << 20;  // bytes outside of strings
constexpr double kMostSeconds = 1e9;
constexpr float kMostStrength = 1000.0f;
constexpr const char* kInitImage = "init_image";
constexpr const char* kMask = "mask";
constexpr const char* kWarnings = "warnings";

// Values take many times the memory of their text, but strings, of which a picture is one.
bool has_too_much_structure(std::string_view text) {
  size_t bytes = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string && c == '\\') {
      ++i;
    } else if (c == '"') {
      in_string = !in_string;
      ++bytes;
    } else if (!in_string) {
      ++bytes;
    }
  }
  return bytes > kMostStructure;
}

// Reads the members of one object; the first that is wrong is kept.
class Reader {
 public:
  // `place`: before the names of its members, "" or "loras[0].".
  Reader(const Json& object, std::string place) : object_(object), place_(std::move(place)) {}

  template <typename T>
  void text(const char* name, T& target) {
    const Json* value = find(name);
    if (value == nullptr) return;
    if (!value->is_string()) return wrong(name, "a string", *value);
    target = value->get<std::string>();
  }
  template <typename T>
  void whole(const char* name, int64_t least, int64_t most, T& target) {
    const Json* value = find(name);
    if (value == nullptr) return;
    const auto expected = fmt::format("a whole number from {} to {}", least, most);
    if (!value->is_number_integer()) return wrong(name, expected, *value);
    if (value->is_number_unsigned() && value->get<uint64_t>() > static_cast<uint64_t>(most))
      return wrong(name, expected, *value);
    const auto number = value->get<int64_t>();
    if (number < least || number > most) return wrong(name, expected, *value);
    target = static_cast<typename Plain<T>::type>(number);
  }
  template <typename T>
  void number(const char* name, double least, double most, T& target) {
    const Json* value = find(name);
    if (value == nullptr) return;
    if (!value->is_number() || !(value->get<double>() >= least && value->get<double>() <= most))
      return wrong(name, fmt::format("a number from {} to {}", least, most), *value);
    target = value->get<typename Plain<T>::type>();
  }
  void seed(const char* name, std::optional<uint64_t>& target) {
    const Json* value = find(name);
    if (value == nullptr) return;
    // 2^64 - 1 is no -1, as the library compares them.
    if (!value->is_number_unsigned() && value->is_number_integer() && value->get<int64_t>() == -1)
      return;
    if (!value->is_number_unsigned())
      return wrong(name, "a whole number from 0 to 2^64 - 1, or -1 or null for a random one",
                   *value);
    target = value->get<uint64_t>();
  }
  void guidance(const char* name, std::optional<std::string>& target) {
    const Json* value = find(name);
    if (value == nullptr) return;
    if (!value->is_number() && !value->is_string())
      return wrong(name, "a number or a string such as \"7x17,3x3\"", *value);
    target = value->is_string() ? value->get<std::string>() : value->dump();
  }
  void size(const char* name, std::optional<int64_t>& width, std::optional<int64_t>& height) {
    const Json* value = find(name);
    if (value == nullptr) return;
    if (!value->is_string()) return wrong(name, "a string such as \"512x512\"", *value);
    const auto text = value->get<std::string>();
    int64_t w = 0, h = 0;
    const char* const end = text.data() + text.size();
    const auto [x, no_width] = std::from_chars(text.data(), end, w);
    if (no_width != std::errc() || x == end || *x != 'x')
      return wrong(name, "a string such as \"512x512\"", *value);
    const auto [rest, no_height] = std::from_chars(x + 1, end, h);
    constexpr int64_t kMost = std::numeric_limits<int32_t>::max();  // of width and height, too
    if (no_height != std::errc() || rest != end || w < 1 || h < 1 || w > kMost || h > kMost)
      return wrong(name, "a string such as \"512x512\"", *value);
    if (width || height)
      return fail(name, "size: expected either it or width and height, found both");
    width = w;
    height = h;
  }
  // In (0, most].
  void share(const char* name, double most, std::optional<double>& target) {
    const Json* value = find(name);
    if (value == nullptr) return;
    if (!value->is_number() || !(value->get<double>() > 0 && value->get<double>() <= most))
      return wrong(name, fmt::format("a number above 0 and up to {}", most), *value);
    target = value->get<double>();
  }
  // As base64 into `sent`, or by its id into `kept`.
  void picture(const char* name, std::optional<RgbImage>& sent, std::optional<KeptPicture>& kept) {
    const Json* value = find(name);
    if (value == nullptr || refusal_) return;
    if (value->is_string()) {
      Accepted<RgbImage> image = decode_sent_base64(name, value->get_ref<const std::string&>());
      if (!image) {
        refusal_ = std::move(image.error());
      } else {
        sent = std::move(*image);
      }
      return;
    }
    if (!value->is_object()) return wrong(name, "a picture in base64", *value);
    KeptPicture picture;
    Reader reader(*value, std::string(name) + ".");
    constexpr int64_t kMost = std::numeric_limits<int32_t>::max();
    reader.required("id");
    reader.text("id", picture.id);
    reader.whole("width", 1, kMost, picture.width);
    reader.whole("height", 1, kMost, picture.height);
    reader.no_others();
    if (reader.refusal_) {
      refusal_ = std::move(reader.refusal_);
    } else if (!is_input_id(picture.id)) {
      fail(name, fmt::format("{}.id: expected the id of a job's {}", name, name));
    } else {
      kept = std::move(picture);
    }
  }
  const Json* array(const char* name) {
    const Json* value = find(name);
    if (value == nullptr || value->is_array()) return value;
    wrong(name, "an array", *value);
    return nullptr;
  }
  void required(const char* name) {
    if (!object_.contains(name))
      fail(name, fmt::format("{}{}: missing, expected it in the request", place_, name));
  }
  void no_others() {
    for (const auto& [name, value] : object_.items()) {
      if (known_.contains(name)) continue;
      const std::string field = place_ + printable(name, 60);
      fail_at(field, fmt::format("{}: unknown field", field));
    }
  }
  void fail(const char* name, std::string message) { fail_at(place_ + name, std::move(message)); }
  const std::optional<Refusal>& refusal() const { return refusal_; }

 private:
  template <typename T>
  struct Plain {
    using type = T;
  };
  template <typename T>
  struct Plain<std::optional<T>> {
    using type = T;
  };

  const Json* find(const char* name) {
    known_.insert(name);
    const auto found = object_.find(name);
    return found == object_.end() || found->is_null() ? nullptr : &*found;
  }
  void wrong(const char* name, std::string_view expected, const Json& value) {
    fail(name,
         fmt::format("{}{}: expected {}, found {}", place_, name, expected, shown_json(value)));
  }
  void fail_at(std::string field, std::string message) {
    if (!refusal_) refusal_ = invalid(std::move(field), std::move(message)).value();
  }

  const Json& object_;
  std::string place_;
  std::set<std::string> known_;
  std::optional<Refusal> refusal_;
};

Accepted<JobRequest::Lora> read_lora(const Json& json, size_t index) {
  const std::string place = fmt::format("loras[{}]", index);
  if (!json.is_object())
    return invalid(place, fmt::format("{}: expected an object, found {}", place, shown_json(json)));
  JobRequest::Lora lora;
  Reader reader(json, place + ".");
  reader.required("name");
  reader.text("name", lora.name);
  reader.number("strength", -kMostStrength, kMostStrength, lora.strength);
  reader.no_others();
  if (reader.refusal()) return tl::unexpected<Refusal>(*reader.refusal());
  return lora;
}

// The object of `body`; names that are there twice are refused.
Accepted<Json> read_object(std::string_view body) {
  std::vector<std::set<std::string>> names;
  std::string twice;
  if (json_depth(body) > kMostDepth) return invalid("", "the body: nested too deep");
  if (has_too_much_structure(body))
    return invalid(
        "", fmt::format("the body: more than {} bytes of JSON outside of strings", kMostStructure));
  const auto watch = [&](int, Json::parse_event_t event, Json& value) {
    if (event == Json::parse_event_t::object_start) names.emplace_back();
    if (event == Json::parse_event_t::object_end) names.pop_back();
    if (event == Json::parse_event_t::key && twice.empty()) {
      const auto name = value.get<std::string>();
      if (!names.back().insert(name).second) twice = printable(name, 60);
    }
    return true;
  };
  Json json = Json::parse(body, watch, false);
  if (json.is_discarded())
    return invalid("", "the body is no JSON (in UTF-8); expected an object with \"prompt\"");
  if (!json.is_object())
    return invalid("", fmt::format("the body: expected an object with \"prompt\", found {}",
                                   shown_json(json)));
  if (!twice.empty()) return invalid(twice, fmt::format("{}: is there twice", twice));
  return json;
}

Json kept_picture_json(const std::optional<KeptPicture>& picture) {
  if (!picture) return nullptr;
  return {{"id", picture->id}, {"width", picture->width}, {"height", picture->height}};
}

template <typename T>
Json optional_json(const std::optional<T>& value) {
  return value ? Json(*value) : Json(nullptr);
}

Json bare_progress_json(const JobProgress& p) {
  return {{"phase", p.phase},       {"picture", p.picture},
          {"step", p.step},         {"steps", p.steps},
          {"fraction", p.fraction}, {"seconds_left", optional_json(p.seconds_left)}};
}

}  // namespace

Json parse_request_json(std::string_view text) {
  if (json_depth(text) > kMostDepth || has_too_much_structure(text) ||
      text.find('\0') != std::string_view::npos)
    return Json(Json::value_t::discarded);
  return Json::parse(text, nullptr, false);
}

Json time_json(double seconds) {
  if (seconds == 0) return nullptr;
  const auto ms = static_cast<int64_t>(std::floor(seconds * 1e3));
  const int64_t whole = ms >= 0 ? ms / 1000 : (ms - 999) / 1000;
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z", fmt::gmtime(static_cast<time_t>(whole)),
                     ms - whole * 1000);
}

Json request_json(const JobRequest& r) {
  Json loras = Json::array();
  for (const JobRequest::Lora& lora : r.loras)
    loras.push_back({{"name", lora.name}, {"strength", lora.strength}});
  return {{"prompt", r.prompt},
          {"negative_prompt", optional_json(r.negative_prompt)},
          {"model", r.model},
          {"width", optional_json(r.width)},
          {"height", optional_json(r.height)},
          {"preset", optional_json(r.preset)},
          {"steps", optional_json(r.steps)},
          {"guidance", optional_json(r.guidance)},
          {"cache", optional_json(r.cache)},
          {"progressive", optional_json(r.progressive)},
          {"seed", optional_json(r.seed)},
          {kInitImage, kept_picture_json(r.init_image)},
          {kMask, kept_picture_json(r.mask)},
          {"strength", optional_json(r.strength)},
          {"count", r.count},
          {"loras", std::move(loras)},
          {"priority", r.priority},
          {"deadline_seconds", optional_json(r.deadline_seconds)},
          {"previews", r.previews}};
}

Json progress_json(const Job& job) {
  Json json{{"id", job.id}};
  json.update(bare_progress_json(job.progress));
  return json;
}

Json picture_json(const Job& job, const JobPicture& p) {
  return {
      {"index", p.index}, {"seed", p.seed},
      {"width", p.width}, {"height", p.height},
      {"bytes", p.bytes}, {"url", fmt::format("/api/jobs/{}/pictures/{}.png", job.id, p.index)}};
}

Json job_json(const Job& job) {
  Json pictures = Json::array();
  for (const JobPicture& picture : job.pictures) pictures.push_back(picture_json(job, picture));
  Json error = nullptr;
  if (job.error) error = {{"code", job.error->code}, {"message", job.error->message}};
  return {{"id", job.id},
          {"status", kJobStateNames[static_cast<size_t>(job.state)]},
          {"created_at", time_json(job.created)},
          {"started_at", time_json(job.started)},
          {"finished_at", time_json(job.finished)},
          {"position", job.position},
          {"priority", job.request.priority},
          {"request", request_json(job.request)},
          {"progress", bare_progress_json(job.progress)},
          {"pictures", std::move(pictures)},
          {kWarnings, job.request.warnings},
          {"error", std::move(error)}};
}

std::string json_text(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string shown_json(const Json& value) {
  constexpr size_t kShown = 60;
  if (value.is_string())
    return fmt::format("\"{}\"", printable(value.get_ref<const std::string&>(), kShown));
  if (value.is_number() || value.is_boolean() || value.is_null()) return value.dump();
  return value.is_array() ? "an array" : "an object";
}

std::string stored_request_text(const JobRequest& request) {
  Json json = request_json(request);
  json[kWarnings] = request.warnings;
  // What is not said is left out: an older version, which does not know it, reads the rest.
  for (auto field = json.begin(); field != json.end();)
    field = field->is_null() ? json.erase(field) : std::next(field);
  return json_text(json);
}

Accepted<JobRequest> read_stored_request(std::string_view text) {
  Json json = parse_request_json(text);
  std::vector<std::string> warnings;
  if (json.is_object() && json.contains(kWarnings)) {
    if (json[kWarnings].is_array()) {
      for (const Json& warning : json[kWarnings])
        if (warning.is_string()) warnings.push_back(warning.get<std::string>());
    }
    json.erase(kWarnings);
  }
  Accepted<JobRequest> request = parse_job_request(json_text(json));
  if (request) request->warnings = std::move(warnings);
  return request;
}

Accepted<ForeignRequest> read_foreign_request(std::string_view text) {
  Json json = parse_request_json(text);
  ForeignRequest read;
  for (;;) {
    Accepted<JobRequest> request = read_stored_request(json_text(json));
    if (request) {
      read.request = std::move(*request);
      return read;
    }
    if (read.not_understood.empty()) read.not_understood = request.error().message;
    // Without the field that is wrong, and what is nested in it.
    const std::string& field = request.error().parameter;
    if (!json.is_object() || json.erase(field.substr(0, field.find_first_of(".["))) == 0)
      return tl::unexpected<Refusal>(std::move(request.error()));
  }
}

Accepted<JobRequest> parse_job_request(std::string_view body,
                                       const std::shared_ptr<const SentPictures>& sent) {
  const Accepted<Json> json = read_object(body);
  if (!json) return tl::unexpected<Refusal>(json.error());
  constexpr int64_t kMost = std::numeric_limits<int32_t>::max();
  JobRequest r;
  Reader reader(*json, "");
  reader.required("prompt");
  reader.text("prompt", r.prompt);
  reader.text("negative_prompt", r.negative_prompt);
  reader.text("model", r.model);
  reader.whole("width", 1, kMost, r.width);
  reader.whole("height", 1, kMost, r.height);
  reader.size("size", r.width, r.height);
  reader.text("preset", r.preset);
  reader.whole("steps", 1, kMost, r.steps);
  reader.guidance("guidance", r.guidance);
  reader.text("cache", r.cache);
  reader.text("progressive", r.progressive);
  reader.seed("seed", r.seed);
  reader.share("strength", 1, r.strength);
  reader.whole("count", 1, kMost, r.count);
  reader.whole("priority", -kMostPriority, kMostPriority, r.priority);
  reader.number("deadline_seconds", 0, kMostSeconds, r.deadline_seconds);
  reader.whole("previews", 0, kMostPreviews, r.previews);
  if (const Json* const loras = reader.array("loras")) {
    for (size_t i = 0; i < loras->size(); ++i) {
      Accepted<JobRequest::Lora> lora = read_lora((*loras)[i], i);
      if (!lora) return tl::unexpected<Refusal>(std::move(lora.error()));
      r.loras.push_back(std::move(*lora));
    }
  }
  SentPictures own;
  reader.picture(kInitImage, own.image, r.init_image);
  reader.picture(kMask, own.mask, r.mask);
  reader.no_others();
  if (reader.refusal()) return tl::unexpected<Refusal>(*reader.refusal());
  r.sent = sent;
  if (!own.image && !own.mask) return r;
  if (sent && !own.image) own.image = sent->image;
  if (sent && !own.mask) own.mask = sent->mask;
  r.sent = std::make_shared<const SentPictures>(std::move(own));
  return r;
}

}  // namespace intaglio::server
