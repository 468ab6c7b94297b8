// The own API, and what every route shares, over real sockets.
#include "unit/server/routes/site_fixture.h"
#include "unit/server/sent_picture.h"

namespace intaglio::server {
namespace {

using Json = nlohmann::json;

class JobRoutes : public SiteTest {};

TEST_F(JobRoutes, AJobFromItsCreationToItsRemoval) {
  start();
  const std::string created = ask("POST /api/jobs", R"({"prompt": "a cat", "seed": 3})");
  EXPECT_EQ(status_of(created), 201);
  EXPECT_NE(created.find("Location: /api/jobs/" + id_of(0)), std::string::npos);
  EXPECT_EQ(json_of(created)["status"], "queued");
  EXPECT_EQ(json_of(ask("GET /api/jobs/" + id_of(0)))["request"]["prompt"], "a cat");
  EXPECT_EQ(status_of(ask("DELETE /api/jobs/" + id_of(0))), 409);
  jobs_.finish(id_of(0));
  EXPECT_EQ(status_of(ask("POST /api/jobs/" + id_of(0) + "/cancel")), 409);
  const std::string picture = ask("GET /api/jobs/" + id_of(0) + "/pictures/0.png");
  EXPECT_EQ(status_of(picture), 200);
  EXPECT_NE(picture.find("immutable"), std::string::npos);
  EXPECT_TRUE(body_of(picture).starts_with("\x89PNG"));
  EXPECT_EQ(status_of(ask("DELETE /api/jobs/" + id_of(0))), 204);
  EXPECT_EQ(status_of(ask("GET /api/jobs/" + id_of(0))), 404);
}

TEST_F(JobRoutes, CancelTellsTheJob) {
  start();
  ask("POST /api/jobs", R"({"prompt": "a cat"})");
  const std::string answer = ask("POST /api/jobs/" + id_of(0) + "/cancel");
  EXPECT_EQ(status_of(answer), 200);
  EXPECT_EQ(json_of(answer)["status"], "cancelled");
}

TEST_F(JobRoutes, ListsByPages) {
  start();
  for (int i = 0; i < 3; ++i) ask("POST /api/jobs", R"({"prompt": "a cat"})");
  const Json first = json_of(ask("GET /api/jobs?limit=2"));
  ASSERT_EQ(first["jobs"].size(), 2u);
  EXPECT_EQ(first["next"], id_of(1));
  const Json second = json_of(ask("GET /api/jobs?limit=2&before=" + id_of(1)));
  ASSERT_EQ(second["jobs"].size(), 1u);
  EXPECT_EQ(second["next"], nullptr);
  for (const char* query :
       {"limit=0", "limit=501", "limit=x", "before=../x", "status=asleep", "x=1"})
    EXPECT_EQ(status_of(ask(std::string("GET /api/jobs?") + query)), 400) << query;
}

TEST_F(JobRoutes, BeginsFromPicturesInJsonAndInForms) {
  start();
  const Json body{{"prompt", "a cat"},
                  {"strength", 0.5},
                  {"init_image", test::base64_png(600, 600, 9)},
                  {"mask", test::base64_png(6, 6, 255)}};
  EXPECT_EQ(status_of(ask("POST /api/jobs", body.dump())), 201);
  const std::string form =
      test::form_of({{"prompt", "a cat"},
                     {"strength", "0.5"},
                     {"init_image@a.png", test::png_of(test::plain_image(600, 600, 9))},
                     {"mask@b.png", test::png_of(test::plain_image(6, 6, 255))}});
  EXPECT_EQ(status_of(ask("POST /api/jobs", form, test::kFormType)), 201);
  for (const int number : {0, 1}) {
    const JobRequest request = jobs_.get(id_of(number))->request;
    EXPECT_EQ(request.strength, 0.5);
    EXPECT_EQ(request.sent->image->width, 600);
    EXPECT_EQ(request.sent->mask->width, 6);
  }
  EXPECT_EQ(json_of(ask("GET /api/info"))["models"][0]["init_image"], true);
  EXPECT_EQ(json_of(ask("GET /api/info"))["models"][1]["init_image"], false);
}

TEST_F(JobRoutes, WrongPicturesAreNamed) {
  start();
  struct Case {
    std::string body, headers, parameter;
  };
  const std::string png = test::png_of(test::plain_image(2, 2, 9));
  for (const Case& c : std::vector<Case>{
           {R"({"prompt": "x", "init_image": "?"})", "", "init_image"},
           {R"({"prompt": "x", "strength": 2})", "", "strength"},
           {R"({"prompt": "x", "width": 0, "height": 64})", "", "width"},
           {R"({"prompt": "x", "width": 64, "height": -5})", "", "height"},
           {test::form_of({{"prompt", "x"}, {"init_image@a", png}, {"size", "0x64"}}),
            test::kFormType, "size"},
           {test::form_of({{"prompt", "x"}, {"init_image@a", png}, {"width", "-5"}}),
            test::kFormType, "width"},
           {test::form_of({{"prompt", "x"}, {"init_image@a", "no picture"}}), test::kFormType,
            "init_image"},
           {test::form_of({{"prompt", "x"}, {"photo@a", png}}), test::kFormType, "photo"},
           {test::form_of({{"prompt", "x"}, {"mask@a", png}, {"mask@b", png}}), test::kFormType,
            "mask"},
           {test::form_of({{"prompt", "x"}, {"count", "two"}}), test::kFormType, "count"}}) {
    const std::string answer = ask("POST /api/jobs", c.body, c.headers);
    EXPECT_EQ(status_of(answer), 400) << c.parameter;
    EXPECT_EQ(json_of(answer)["error"]["param"], c.parameter);
  }
  EXPECT_EQ(status_of(ask("POST /api/jobs", "x", test::kFormType)), 400);
  EXPECT_EQ(status_of(ask("POST /api/jobs", "x", "Content-Type: multipart/form-data\r\n")), 400);
}

TEST_F(JobRoutes, APictureToBeginFromCanBeFetched) {
  start();
  jobs_.known_input = std::string(64, 'a');
  ask("POST /api/jobs", R"({"prompt": "x", "init_image": {"id": ")" + jobs_.known_input + "\"}}");
  const std::string path = "GET /api/jobs/" + id_of(0);
  EXPECT_EQ(json_of(ask(path))["request"]["init_image"]["id"], jobs_.known_input);
  const std::string picture = ask(path + "/init_image.png");
  EXPECT_EQ(status_of(picture), 200);
  EXPECT_TRUE(body_of(picture).starts_with("\x89PNG"));
  EXPECT_EQ(status_of(ask(path + "/mask.png")), 404);
  EXPECT_EQ(status_of(ask("GET /api/jobs/" + id_of(7) + "/init_image.png")), 404);
}

TEST_F(JobRoutes, ARefusalHasItsStatusAndItsField) {
  start();
  const std::string unknown = ask("POST /api/jobs", R"({"prompt": "a cat", "colour": 1})");
  EXPECT_EQ(status_of(unknown), 400);
  EXPECT_EQ(json_of(unknown)["error"]["param"], "colour");
  EXPECT_EQ(status_of(ask("POST /api/jobs", "{")), 400);
  EXPECT_EQ(status_of(ask("POST /api/jobs", "prompt=x",
                          "Content-Type: application/x-www-form-urlencoded\r\n")),
            415);
  jobs_.refusal = Refusal{.reason = Refusal::Reason::kFull,
                          .parameter = "",
                          .message = "full",
                          .retry_after_seconds = 2.2};
  const std::string full = ask("POST /api/jobs", R"({"prompt": "a cat"})");
  EXPECT_EQ(status_of(full), 429);
  EXPECT_NE(full.find("Retry-After: 3\r\n"), std::string::npos);
  jobs_.refusal->reason = Refusal::Reason::kStopping;
  EXPECT_EQ(status_of(ask("POST /api/jobs", R"({"prompt": "a cat"})")), 503);
}

TEST_F(JobRoutes, NoPathLeadsToAFile) {
  start();
  ask("POST /api/jobs", R"({"prompt": "a cat"})");
  jobs_.finish(id_of(0));
  for (const std::string path :
       {"/../etc/passwd", "/%2e%2e/etc/passwd", "/assets/../../etc/passwd", "/assets/%2e%2e%2fx",
        "/api/jobs/../jobs", "/api/jobs/..%2f..%2fetc", "/api/jobs/x/pictures/0.png",
        "/api/jobs/"
        "00000000000000000000"
        "/pictures/..%2f0.png",
        "/api/jobs/"
        "00000000000000000000"
        "/pictures/0.png%00",
        "/api/jobs/"
        "00000000000000000000"
        "/pictures/-1.png",
        "/api/jobs/"
        "00000000000000000000"
        "/pictures/1.png",
        "/api/jobs/"
        "00000000000000000000"
        "/pictures/99999999999999999999.png",
        "/sources.sha256", "/etc/passwd", "//etc/passwd"}) {
    EXPECT_EQ(status_of(ask("GET " + path)), 404) << path;
  }
}

TEST_F(JobRoutes, EventsOfAJobEndBehindItsLastState) {
  start();
  ask("POST /api/jobs", R"({"prompt": "a cat"})");
  HttpClient client(server_->port());
  client.send(http_request("GET /api/jobs/" + id_of(0) + "/events"));
  client.read_until("\"queued\"");
  jobs_.progress(id_of(0), 3);
  client.read_until("event: progress");
  jobs_.preview(id_of(0), "PNG");
  EXPECT_NE(client.read_until("event: preview").find("event: progress"), std::string::npos);
  jobs_.finish(id_of(0));
  const std::string all = client.read_all();
  EXPECT_TRUE(client.closed());
  EXPECT_NE(all.find("\"image\":\"data:image/png;base64,UE5H\""), std::string::npos);
  EXPECT_NE(all.find("event: picture"), std::string::npos);
  EXPECT_NE(all.rfind("\"status\":\"done\""), std::string::npos);
  EXPECT_TRUE(eventually([&] { return jobs_.listeners() == 0; }));
  EXPECT_EQ(status_of(ask("GET /api/jobs/" + id_of(5) + "/events")), 404);
}

TEST_F(JobRoutes, EventsOfAllBeginWithWhatIsUnderWay) {
  start();
  ask("POST /api/jobs", R"({"prompt": "a cat"})");
  HttpClient client(server_->port());
  client.send(http_request("GET /api/events"));
  EXPECT_NE(client.read_until(id_of(0)).find("event: state"), std::string::npos);
  jobs_.finish(id_of(0));
  client.read_until("\"done\"");
  ask("DELETE /api/jobs/" + id_of(0));
  EXPECT_NE(client.read_until("event: removed").find("event: removed"), std::string::npos);
  client.close();
  EXPECT_TRUE(eventually([&] { return jobs_.listeners() == 0; }));
}

TEST_F(JobRoutes, InfoTellsModelsAndLimits) {
  start();
  const Json info = json_of(ask("GET /api/info"));
  EXPECT_EQ(info["version"], "1.2.3");
  EXPECT_EQ(info["models"][0]["name"], "mini");
  EXPECT_EQ(info["models"][0]["default"], true);
  EXPECT_EQ(info["models"][0]["presets"][0]["name"], "FAST");
  EXPECT_EQ(info["models"][0]["masks"], Json({{{"name", "half"}, {"steps", 4}, {"share", 0.5}}}));
  EXPECT_EQ(info["models"][1]["masks"], Json::array());
  EXPECT_EQ(info["models"][1]["negative_prompt"], false);
  EXPECT_EQ(info["models"][1]["guidance"], false);
  EXPECT_EQ(info["loras"][0], "style");
}

TEST_F(JobRoutes, HealthReadinessAndMetrics) {
  start();
  EXPECT_EQ(body_of(ask("GET /healthz")), "{\"status\":\"ok\"}\n");
  EXPECT_EQ(status_of(ask("GET /readyz")), 200);
  jobs_.is_ready = false;
  EXPECT_EQ(status_of(ask("GET /readyz")), 503);
  ASSERT_TRUE(eventually([&] {
    return body_of(ask("GET /metrics"))
               .find("intaglio_http_requests_total{route=\"/readyz\",code=\"503\"} 1\n") !=
           std::string::npos;
  }));
  EXPECT_EQ(status_of(ask("GET /openapi.json")), 200);
}

TEST_F(JobRoutes, EveryAnswerIsGuarded) {
  start();
  for (const char* path : {"/", "/healthz", "/api/info", "/none", "/api/jobs/x", "/v1/models"}) {
    const std::string answer = ask(std::string("GET ") + path);
    for (const char* header :
         {"X-Content-Type-Options: nosniff", "Referrer-Policy: no-referrer",
          "Content-Security-Policy: default-src 'none'", "X-Frame-Options: DENY"}) {
      EXPECT_NE(answer.find(header), std::string::npos) << path << " " << header;
    }
    EXPECT_EQ(answer.find("Access-Control"), std::string::npos) << path;
  }
  EXPECT_NE(ask("GET /").find("script-src 'self'"), std::string::npos);
}

TEST_F(JobRoutes, WrongMethodsNameTheRightOnes) {
  start();
  const std::string answer = ask("PUT /api/jobs", "{}");
  EXPECT_EQ(status_of(answer), 405);
  EXPECT_NE(answer.find("Allow: POST, GET"), std::string::npos);
  EXPECT_EQ(status_of(ask("OPTIONS /api/jobs", "", "Origin: http://evil.example\r\n")), 405);
}

TEST_F(JobRoutes, OtherHostsAndSitesAreRefused) {
  start();
  const auto raw = [&](const std::string& text) {
    return status_of(exchange_with(server_->port(), text));
  };
  EXPECT_EQ(raw("GET /healthz HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n"), 403);
  EXPECT_EQ(raw("GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n"), 400);
  EXPECT_EQ(
      status_of(ask("POST /api/jobs", R"({"prompt": "a"})", "Origin: http://evil.example\r\n")),
      403);
  EXPECT_EQ(jobs_.count(), 0u);
}

class TokenRoutes : public SiteTest {
 protected:
  static constexpr const char* kRight = "Authorization: Bearer 0123456789abcdef\r\n";
  void start_with_token() { start({.token = "0123456789abcdef", .hosts = {}}); }
};

TEST_F(TokenRoutes, OnlyThePageAndItsHealthAreOpen) {
  start_with_token();
  for (const char* path : {"/", "/index.html", "/healthz", "/readyz", "/openapi.json"})
    EXPECT_EQ(status_of(ask(std::string("GET ") + path)), 200) << path;
  for (const std::string& route : site_->router.routes()) {
    const std::string path = route.substr(route.find(' ') + 1);
    if (path.starts_with("/api/") || path.starts_with("/v1/") || path.starts_with("/sdapi/") ||
        path == "/metrics") {
      const std::string answer = ask(route);
      EXPECT_EQ(status_of(answer), 401) << route;
      EXPECT_NE(answer.find("WWW-Authenticate: Bearer"), std::string::npos) << route;
    }
  }
  EXPECT_EQ(status_of(ask("GET /api/nothing")), 401);
  EXPECT_EQ(status_of(ask("GET /api/info", "", kRight)), 200);
  EXPECT_EQ(status_of(ask("GET /api/info", "", "Authorization: Bearer 0123456789abcdeX\r\n")), 401);
}

TEST_F(TokenRoutes, APicturesKeyOpensThatPictureAlone) {
  start_with_token();
  ask("POST /api/jobs", R"({"prompt": "a cat", "count": 2})", kRight);
  jobs_.finish(id_of(0));
  const std::string path = "/api/jobs/" + id_of(0) + "/pictures/0.png";
  const std::string key = "?key=" + address_key(site_->router.rules(), path);
  EXPECT_EQ(status_of(ask("GET " + path)), 401);
  EXPECT_EQ(status_of(ask("GET " + path + "?key=")), 401);
  EXPECT_EQ(status_of(ask("GET " + path + key)), 200);
  EXPECT_EQ(status_of(ask("GET /api/jobs/" + id_of(0) + "/pictures/1.png" + key)), 401);
  EXPECT_EQ(status_of(ask("GET /api/info" + key)), 401);
}

}  // namespace
}  // namespace intaglio::server
