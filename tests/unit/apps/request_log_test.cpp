#include "serve/request_log.h"

#include <gtest/gtest.h>

namespace intaglio::cli {
namespace {

server::Request request(const std::string& path) {
  server::Request request{.method = "GET", .path = path, .peer = "127.0.0.1"};
  request.query["key"] = "secret";
  request.headers["authorization"] = "Bearer secret";
  request.body = "secret";
  return request;
}

TEST(RequestLine, SaysWhatHappenedAndNoSecret) {
  EXPECT_EQ(request_line(LogFormat::kText, request("/api"), 200, 12, 0.00123, 1e9 + 0.25),
            "2001-09-09T01:46:40.250Z 127.0.0.1 GET /api 200 12 B 1.2 ms\n");
  EXPECT_EQ(request_line(LogFormat::kJson, request("/api"), 404, 0, 1.5, 1e9),
            "{\"time\":\"2001-09-09T01:46:40.000Z\",\"peer\":\"127.0.0.1\",\"method\":\"GET\","
            "\"path\":\"/api\",\"status\":404,\"bytes\":0,\"ms\":1500.0}\n");
}

TEST(RequestLine, IsOneLineWhateverThePath) {
  for (const LogFormat format : {LogFormat::kText, LogFormat::kJson}) {
    const std::string line =
        request_line(format, request("/a\n\x1b[31m\xff" + std::string(1000, 'x')), 200, 0, 0, 1e9);
    EXPECT_EQ(line.find('\n'), line.size() - 1);
    EXPECT_EQ(line.find('\x1b'), std::string::npos);
    EXPECT_LT(line.size(), 500u);
  }
}

TEST(MessageLine, HasItsLevel) {
  EXPECT_EQ(message_line(LogFormat::kText, "info", "a\nb", 1e9),
            "2001-09-09T01:46:40.000Z info a\\x0ab\n");
}

}  // namespace
}  // namespace intaglio::cli
