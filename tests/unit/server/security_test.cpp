#include "server/security.h"

#include <gtest/gtest.h>

namespace intaglio::server {
namespace {

Request request_with(const std::string& header, const std::string& value,
                     const std::string& method = "GET") {
  Request request{.method = method, .path = "/"};
  request.headers["host"] = "localhost:7860";
  request.headers[header] = value;
  return request;
}

int status(const std::optional<AccessRefusal>& refusal) { return refusal ? refusal->status : 0; }

TEST(HostName, IsWithoutThePortInLowerCase) {
  EXPECT_EQ(host_name("LocalHost:7860"), "localhost");
  EXPECT_EQ(host_name("127.0.0.1"), "127.0.0.1");
  EXPECT_EQ(host_name("[::1]:80"), "[::1]");
  EXPECT_EQ(host_name("[::1]"), "[::1]");
}

TEST(CheckHost, OnLoopbackNamesOfLoopbackAlone) {
  const AccessRules rules{.token = "", .hosts = loopback_hosts({"draw.example:443"})};
  for (const char* host :
       {"localhost", "localhost:7860", "127.0.0.1:1", "[::1]:7860", "draw.example", "LOCALHOST"}) {
    EXPECT_EQ(status(check_host(rules, request_with("host", host))), 0) << host;
  }
  for (const char* host : {"evil.example", "localhost.evil.example", "127.0.0.1.evil.example",
                           "evil.example:7860", "localhost@evil", "[::2]"}) {
    EXPECT_EQ(status(check_host(rules, request_with("host", host))), 403) << host;
  }
  EXPECT_EQ(status(check_host(rules, request_with("host", ""))), 400);
  EXPECT_EQ(status(check_host({}, request_with("host", "any.example"))), 0);
}

TEST(CheckToken, TakesTheTokenAndNothingElse) {
  const AccessRules rules{.token = "0123456789abcdef", .hosts = {}};
  const auto with = [&](const char* value) {
    return status(check_token(rules, request_with("authorization", value)));
  };
  EXPECT_EQ(with("Bearer 0123456789abcdef"), 0);
  EXPECT_EQ(with("bearer 0123456789abcdef"), 0);
  for (const char* value :
       {"", "Bearer", "Bearer ", "Bearer 0123456789abcde", "Bearer 0123456789abcdef0",
        "Bearer 0123456789abcdeF", "0123456789abcdef", "Basic 0123456789abcdef", "Bearer  x"}) {
    EXPECT_EQ(with(value), 401) << value;
  }
  EXPECT_EQ(status(check_token({}, request_with("authorization", ""))), 0);
}

TEST(CheckOrigin, PagesOfOtherSitesChangeNothing) {
  const auto with = [](const char* origin, const char* method) {
    return status(check_origin(request_with("origin", origin, method)));
  };
  EXPECT_EQ(with("", "POST"), 0);
  EXPECT_EQ(with("http://localhost:7860", "POST"), 0);
  EXPECT_EQ(with("https://localhost:7860", "DELETE"), 0);
  EXPECT_EQ(with("http://evil.example", "GET"), 0);
  for (const char* origin : {"http://evil.example", "null", "http://localhost:7861",
                             "http://localhost", "localhost:7860"}) {
    EXPECT_EQ(with(origin, "POST"), 403) << origin;
    EXPECT_EQ(with(origin, "DELETE"), 403) << origin;
  }
  EXPECT_EQ(status(check_origin(request_with("sec-fetch-site", "cross-site", "POST"))), 403);
  EXPECT_EQ(status(check_origin(request_with("sec-fetch-site", "same-origin", "POST"))), 0);
}

TEST(CheckedToken, IsWithoutTheSpaceOfAFile) {
  EXPECT_EQ(checked_token(" 0123456789abcdef\n", "--token-file").value(), "0123456789abcdef");
  for (const char* text : {"", "\n", "short", "0123456789 abcdef", "0123456789abcde\x80"}) {
    const Expected<std::string> token = checked_token(text, "--token-file");
    ASSERT_FALSE(token) << text;
    EXPECT_NE(token.error().message.find("--token-file: expected a token of 16"),
              std::string::npos);
    if (*text != '\0' && *text != '\n') {
      EXPECT_EQ(token.error().message.find(text), std::string::npos) << "the secret is not told";
    }
  }
}

TEST(AddressKey, IsHmacSha256OfThePath) {
  // printf /a | openssl dgst -sha256 -hmac 0123456789abcdef
  const AccessRules rules{.token = "0123456789abcdef", .hosts = {}};
  const std::string key = address_key(rules, "/a");
  EXPECT_EQ(key.size(), 32u);
  EXPECT_NE(key, address_key(rules, "/b"));
  EXPECT_NE(key, address_key({.token = "0123456789abcdeg", .hosts = {}}, "/a"));
  EXPECT_EQ(key, "e62b196f85a35bcc8e94e3a6f7e3b102");
}

}  // namespace
}  // namespace intaglio::server
