#include "server/multipart.h"

#include <algorithm>
#include <array>

#include "core/utf8.h"
#include "io/printable.h"
#include "server/refusal.h"

namespace intaglio::server {
namespace {

constexpr size_t kMostParts = 64;
constexpr size_t kMostHeaders = 4096;  // bytes of those of a part
constexpr size_t kMostBoundary = 70;   // RFC 2046
constexpr std::string_view kEndOfLine = "\r\n", kEndOfHeaders = "\r\n\r\n";
constexpr size_t kShown = 60;  // bytes of a name

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& c : result)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
  return result;
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

// A parameter of a header's value, "; name=value" or "; name=\"value\"".
std::optional<std::string> parameter(std::string_view value, std::string_view name) {
  size_t at = value.find(';');
  while (at < value.size()) {
    const size_t equals = value.find('=', ++at);
    if (equals == value.npos) return std::nullopt;
    const bool found = lower(trimmed(value.substr(at, equals - at))) == name;
    at = equals + 1;
    std::string text;
    if (at < value.size() && value[at] == '"') {
      for (++at; at < value.size() && value[at] != '"'; ++at) {
        if (value[at] == '\\' && at + 1 < value.size()) ++at;
        text += value[at];
      }
      at = value.find(';', at);
    } else {
      const size_t end = std::min(value.find(';', at), value.size());
      text = trimmed(value.substr(at, end - at));
      at = end;
    }
    if (found) return text;
  }
  return std::nullopt;
}

// What "Content-Disposition: form-data" of a part's headers says.
std::optional<std::string> disposition(std::string_view headers) {
  constexpr std::string_view kName = "content-disposition:";
  while (!headers.empty()) {
    const size_t end = std::min(headers.find(kEndOfLine), headers.size());
    const std::string_view line = headers.substr(0, end);
    if (lower(line.substr(0, kName.size())) == kName)
      return std::string(trimmed(line.substr(kName.size())));
    headers.remove_prefix(std::min(end + kEndOfLine.size(), headers.size()));
  }
  return std::nullopt;
}

bool is_text_field(std::string_view name) {
  constexpr std::array<std::string_view, 15> kNames{
      "prompt",     "negative_prompt", "model",           "size",           "preset",
      "cache",      "progressive",     "quality",         "style",          "background",
      "moderation", "output_format",   "response_format", "input_fidelity", "user"};
  return std::find(kNames.begin(), kNames.end(), name) != kNames.end();
}

Json field_value(const std::string& name, std::string_view text) {
  if (is_text_field(name)) return Json(std::string(text));
  Json value = parse_request_json(text);
  return value.is_discarded() ? Json(std::string(text)) : value;
}

}  // namespace

std::optional<std::string> form_boundary(std::string_view content_type) {
  constexpr std::string_view kType = "multipart/form-data";
  const size_t end = std::min(content_type.find(';'), content_type.size());
  if (lower(trimmed(content_type.substr(0, end))) != kType) return std::nullopt;
  return parameter(content_type, "boundary").value_or("");
}

Accepted<std::vector<FormPart>> parse_form(std::string_view body, std::string_view boundary) {
  if (boundary.empty() || boundary.size() > kMostBoundary)
    return invalid(
        "", fmt::format("Content-Type: expected a boundary of 1 to {} characters", kMostBoundary));
  const std::string mark = "--" + std::string(boundary);
  const std::string next = std::string(kEndOfLine) + mark;
  const auto broken = [](std::string_view why) {
    return invalid("", fmt::format("the body is no form: {}", why));
  };
  // What stands before the first boundary is for nobody.
  if (body.starts_with(mark)) {
    body.remove_prefix(mark.size());
  } else {
    const size_t first = body.find(next);
    if (first == body.npos) return broken("it has no boundary");
    body.remove_prefix(first + next.size());
  }
  std::vector<FormPart> parts;
  while (!body.starts_with("--")) {
    const size_t line = body.find(kEndOfLine);
    if (line == body.npos || !trimmed(body.substr(0, line)).empty())
      return broken("a boundary has no end of line");
    if (parts.size() == kMostParts)
      return broken(fmt::format("it has more than {} parts", kMostParts));
    // With the end of the line before, for parts without headers.
    const std::string_view part = body.substr(line);
    const size_t headers = part.substr(0, kMostHeaders).find(kEndOfHeaders);
    if (headers == part.npos) return broken("the headers of a part do not end");
    const std::string_view data = part.substr(headers + kEndOfHeaders.size());
    const size_t end = data.find(next);
    if (end == data.npos) return broken("its last part is cut off");
    const auto says = disposition(part.substr(0, headers));
    const auto name = says ? parameter(*says, "name") : std::nullopt;
    if (!name || name->empty() || !is_utf8(*name)) return broken("a part has no name");
    parts.push_back({.name = *name,
                     .is_file = parameter(*says, "filename").has_value(),
                     .data = data.substr(0, end)});
    body = data.substr(end + next.size());
  }
  return parts;
}

Accepted<Json> form_fields(const std::vector<FormPart>& parts) {
  Json fields = Json::object();
  for (const FormPart& part : parts) {
    if (part.is_file) continue;
    const std::string shown = printable(part.name, kShown);
    if (fields.contains(part.name)) return invalid(shown, shown + ": is there twice");
    if (!is_utf8(part.data))
      return invalid(shown,
                     fmt::format("{}: expected text in UTF-8, or a file, which is a part with "
                                 "a filename; found {} bytes of neither",
                                 shown, part.data.size()));
    fields[part.name] = field_value(part.name, part.data);
  }
  return fields;
}

}  // namespace intaglio::server
