// The description of the API against the routes there are.
#include <algorithm>
#include <set>

#include "server/embedded.h"
#include "unit/server/routes/site_fixture.h"

namespace intaglio::server {
namespace {

std::string upper(std::string text) {
  for (char& c : text) c = static_cast<char>(c - (c >= 'a' && c <= 'z' ? 32 : 0));
  return text;
}

class OpenApi : public SiteTest {};

TEST_F(OpenApi, NamesEveryRouteAndNoOther) {
  start();
  const auto document = nlohmann::json::parse(api_files().front().text);
  EXPECT_EQ(document["openapi"], "3.1.0");
  std::set<std::string> described, there;
  for (const auto& [path, item] : document["paths"].items())
    for (const auto& [method, operation] : item.items())
      if (method != "parameters") described.insert(upper(method) + " " + path);
  for (const std::string& route : site_->router.routes()) there.insert(route);
  // The page's files are its own matter.
  for (const EmbeddedFile& file : page_files()) there.erase("GET /" + std::string(file.name));
  EXPECT_EQ(described, there);
}

TEST_F(OpenApi, SaysWhichRoutesNeedTheToken) {
  start({.token = "0123456789abcdef", .hosts = {}});
  const auto document = nlohmann::json::parse(api_files().front().text);
  for (const auto& [path, item] : document["paths"].items()) {
    for (const auto& [method, operation] : item.items()) {
      if (method == "parameters") continue;
      const bool open = operation.contains("security") && operation["security"].empty();
      EXPECT_EQ(status_of(ask(upper(method) + " " + path)) == 401, !open) << method << path;
      EXPECT_EQ(operation["responses"].contains("401"), !open) << method << path;
    }
  }
}

TEST_F(OpenApi, ReferencesLeadSomewhere) {
  const std::string text(api_files().front().text);
  const auto document = nlohmann::json::parse(text);
  constexpr std::string_view kPrefix = "\"#/components/schemas/";
  for (size_t at = text.find(kPrefix); at != std::string::npos; at = text.find(kPrefix, at + 1)) {
    const size_t begin = at + kPrefix.size();
    const std::string name = text.substr(begin, text.find('"', begin) - begin);
    EXPECT_TRUE(document["components"]["schemas"].contains(name)) << name;
  }
}

}  // namespace
}  // namespace intaglio::server
