// Requests and responses of HTTP, as routes see them: no library, no socket.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace intaglio::server {

class EventStream;

struct Request {
  std::string method;                               // "GET"; upper case as it came
  std::string path;                                 // as it came, without the query
  std::map<std::string, std::string> query = {};    // decoded; the last of several of a name
  std::map<std::string, std::string> headers = {};  // names in lower case; the first of a name
  std::string body = {};
  std::string peer = {};  // address without the port
  bool tls = false;

  // Empty where there is none.
  std::string_view header(const std::string& lower_case_name) const;
  std::string_view argument(const std::string& name) const;
};

// A file of the server's own, whose bytes follow as the client takes them.
struct FileBody {
  std::filesystem::path path;
};

struct Response {
  int status = 200;
  std::vector<std::pair<std::string, std::string>> headers = {};
  std::variant<std::string, FileBody, std::shared_ptr<EventStream>> body = std::string();

  Response& set(std::string name, std::string value);  // in place of one of that name
};

Response text_response(int status, std::string type, std::string body);
Response json_response(int status, const nlohmann::ordered_json& body);
// {"error": {"code", "message", "param"}}; `param` only where it is not empty.
Response error_response(int status, std::string_view code, std::string_view message,
                        std::string_view param = "");

// The reason phrase's code of an error: "not_found" of 404.
std::string_view status_code_name(int status);

// %XX decoded. nullopt: a broken escape, a NUL, or no UTF-8.
std::optional<std::string> percent_decoded(std::string_view text);

// The parts between the slashes of a path that begins with one: "/a/b" -> {"a", "b"}. nullopt where a
// part is empty but the last, ".", "..", or holds a slash, a backslash or a control once it is decoded.
std::optional<std::vector<std::string>> path_parts(std::string_view path);

// Whether `a` is `b`, in a time that depends on their lengths alone.
bool equal_in_constant_time(std::string_view a, std::string_view b);

}  // namespace intaglio::server
