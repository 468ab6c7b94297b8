#include "server/http_message.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/utf8.h"

namespace intaglio::server {
namespace {

std::string_view found(const std::map<std::string, std::string>& map, const std::string& name) {
  const auto at = map.find(name);
  return at == map.end() ? std::string_view() : std::string_view(at->second);
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

bool is_plain_part(std::string_view part) {
  if (part == "." || part == "..") return false;
  return std::none_of(part.begin(), part.end(), [](char c) {
    return c == '/' || c == '\\' || static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
  });
}

}  // namespace

std::string_view Request::header(const std::string& lower_case_name) const {
  return found(headers, lower_case_name);
}

std::string_view Request::argument(const std::string& name) const { return found(query, name); }

Response& Response::set(std::string name, std::string value) {
  for (auto& [present, old] : headers) {
    if (present != name) continue;
    old = std::move(value);
    return *this;
  }
  headers.emplace_back(std::move(name), std::move(value));
  return *this;
}

Response text_response(int status, std::string type, std::string body) {
  Response response{.status = status, .body = std::move(body)};
  response.set("Content-Type", std::move(type));
  return response;
}

Response json_response(int status, const nlohmann::ordered_json& body) {
  return text_response(
      status, "application/json",
      body.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n");
}

Response error_response(int status, std::string_view code, std::string_view message,
                        std::string_view param) {
  nlohmann::ordered_json error{{"code", code}, {"message", message}};
  if (!param.empty()) error["param"] = param;
  return json_response(status, {{"error", std::move(error)}});
}

std::string_view status_code_name(int status) {
  switch (status) {
    case 400:
      return "invalid_argument";
    case 401:
      return "unauthorized";
    case 403:
      return "forbidden";
    case 404:
      return "not_found";
    case 405:
      return "method_not_allowed";
    case 408:
      return "too_slow";
    case 409:
      return "conflict";
    case 413:
      return "too_large";
    case 415:
      return "unsupported_media_type";
    case 429:
      return "queue_full";
    case 431:
      return "headers_too_large";
    case 503:
      return "unavailable";
    default:
      return "internal";
  }
}

std::optional<std::string> percent_decoded(std::string_view text) {
  std::string result;
  result.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\0') return std::nullopt;
    if (text[i] != '%') {
      result += text[i];
      continue;
    }
    if (i + 2 >= text.size()) return std::nullopt;
    const int high = hex_digit(text[i + 1]), low = hex_digit(text[i + 2]);
    if (high < 0 || low < 0 || (high == 0 && low == 0)) return std::nullopt;
    result += static_cast<char>(high * 16 + low);
    i += 2;
  }
  if (!is_utf8(result)) return std::nullopt;
  return result;
}

std::optional<std::vector<std::string>> path_parts(std::string_view path) {
  if (!path.starts_with('/')) return std::nullopt;
  path.remove_prefix(1);
  std::vector<std::string> parts;
  while (!path.empty()) {
    const size_t slash = std::min(path.find('/'), path.size());
    std::optional<std::string> part = percent_decoded(path.substr(0, slash));
    if (!part || part->empty() || !is_plain_part(*part)) return std::nullopt;
    parts.push_back(std::move(*part));
    path.remove_prefix(std::min(slash + 1, path.size()));
  }
  return parts;
}

bool equal_in_constant_time(std::string_view a, std::string_view b) {
  // Volatile, so that no compiler ends the walk early.
  volatile unsigned char differ = a.size() == b.size() ? 0 : 1;
  for (size_t i = 0; i < a.size(); ++i) {
    const unsigned char other = b.empty() ? 0 : static_cast<unsigned char>(b[i % b.size()]);
    differ = static_cast<unsigned char>(differ | (static_cast<unsigned char>(a[i]) ^ other));
  }
  return differ == 0;
}

}  // namespace intaglio::server
