#include "server/redis_url.h"

#include <fmt/format.h>

#include <charconv>
#include <optional>

#include "server/http_message.h"

namespace intaglio::server {
namespace {

constexpr std::string_view kScheme = "redis://", kTlsScheme = "rediss://";

template <typename T>
std::optional<T> whole(std::string_view text) {
  T value{};
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || rest != end) return std::nullopt;
  return value;
}

}  // namespace

std::string RedisUrl::shown() const {
  const bool bracket = host.find(':') != std::string::npos;
  return fmt::format("redis://{}:{}/{}", bracket ? "[" + host + "]" : host, port, database);
}

Expected<RedisUrl> parse_redis_url(std::string_view flag, std::string_view text) {
  const auto wrong = [&](std::string_view what) {
    return make_error(ErrorCode::kInvalidArgument,
                      "{}: {}; expected redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE]", flag,
                      what);
  };
  if (text.starts_with(kTlsScheme))
    return make_error(ErrorCode::kUnsupported,
                      "{}: rediss:// is not possible, this build's Redis library (hiredis) speaks "
                      "no TLS; give redis:// and the address of a tunnel (stunnel, WireGuard)",
                      flag);
  if (!text.starts_with(kScheme)) return wrong("it does not begin with redis://");
  text.remove_prefix(kScheme.size());
  RedisUrl url;
  if (const size_t at = text.rfind('@'); at != text.npos) {
    const std::string_view account = text.substr(0, at);
    text.remove_prefix(at + 1);
    const size_t colon = account.find(':');
    if (colon == account.npos) return wrong("there is no password behind the user's name");
    const auto user = percent_decoded(account.substr(0, colon));
    const auto password = percent_decoded(account.substr(colon + 1));
    if (!user || !password || password->empty())
      return wrong("the user or the password cannot be read (%XX stands for other characters)");
    url.user = *user;
    url.password = *password;
  }
  if (const size_t slash = text.find('/'); slash != text.npos) {
    const std::string_view database = text.substr(slash + 1);
    text = text.substr(0, slash);
    if (!database.empty()) {
      const auto number = whole<int>(database);
      if (!number || *number < 0) return wrong("the database behind the / is no number");
      url.database = *number;
    }
  }
  const size_t bracket = text.starts_with('[') ? text.find(']') : text.npos;
  if (text.starts_with('[') && bracket == text.npos) return wrong("a ] is missing");
  const size_t colon = text.find(':', bracket == text.npos ? 0 : bracket);
  if (colon != text.npos) {
    const auto port = whole<uint16_t>(text.substr(colon + 1));
    if (!port || *port == 0) return wrong("the port is no number from 1 to 65535");
    url.port = *port;
    text = text.substr(0, colon);
  }
  if (bracket != text.npos) text = text.substr(1, bracket - 1);
  if (text.empty()) return wrong("the host is missing");
  url.host = text;
  return url;
}

}  // namespace intaglio::server
