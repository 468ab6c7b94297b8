// A server with every route over a fake job service.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>

#include "io/png.h"
#include "server/http_server.h"
#include "server/routes/site.h"
#include "unit/server/fake_jobs.h"
#include "unit/server/http_client.h"

namespace intaglio::server {

class SiteTest : public ::testing::Test {
 protected:
  void start(AccessRules rules = {.token = "", .hosts = loopback_hosts({})}) {
    jobs_.picture_file = ::testing::TempDir() + "/site_" + std::to_string(::getpid()) + ".png";
    const RgbImage image{.width = 2, .height = 1, .pixels = {255, 0, 0, 0, 0, 255}};
    ASSERT_TRUE(write_png(jobs_.picture_file, image, {{"parameters", "a cat\nSteps: 4"}}));
    site_ = std::make_unique<Site>(jobs_, pool_, std::move(rules), "1.2.3");
    add_all_routes(*site_);
    const Expected<ListenSocket> socket = listen_on("127.0.0.1", 0);
    ASSERT_TRUE(socket);
    Expected<std::unique_ptr<HttpServer>> server = HttpServer::start(
        {.socket = *socket},
        handlers_of(*site_, [](const Request&, const std::string&, int, uint64_t, double) {}));
    ASSERT_TRUE(server) << server.error().message;
    server_ = std::move(*server);
  }
  void TearDown() override {
    if (server_) server_->stop(std::chrono::milliseconds(0));
    pool_.stop();
    std::error_code ignored;
    std::filesystem::remove(jobs_.picture_file, ignored);
  }

  std::string ask(std::string_view line, std::string_view body = "",
                  std::string_view headers = "") {
    return exchange_with(server_->port(), http_request(line, body, headers));
  }
  static nlohmann::json json_of(std::string_view answer) {
    return nlohmann::json::parse(body_of(answer), nullptr, false);
  }
  template <typename Condition>
  static bool eventually(Condition condition) {
    for (int i = 0; i < 2000; ++i) {
      if (condition()) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return false;
  }
  static std::string id_of(int number) {
    const std::string digits = std::to_string(number);
    return std::string(20 - digits.size(), '0') + digits;
  }
  // Sends a request that waits for its job, does `act` once the job is there; the answer.
  template <typename Act>
  std::string ask_and(std::string_view line, std::string_view body, Act act) {
    HttpClient client(server_->port());
    const size_t before = jobs_.count();
    client.send(http_request(line, body));
    if (eventually([&] { return jobs_.count() > before; })) act(id_of(static_cast<int>(before)));
    return client.read_all();
  }

  FakeJobs jobs_;
  WorkerPool pool_{2, 100};
  std::unique_ptr<Site> site_;
  std::unique_ptr<HttpServer> server_;
};

}  // namespace intaglio::server
