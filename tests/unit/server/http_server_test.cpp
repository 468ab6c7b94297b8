// The transport against clients that are slow, large, gone or many.
#include "server/http_server.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <utility>

#include "unit/server/http_client.h"

namespace intaglio::server {
namespace {

using namespace std::chrono_literals;

struct Done {
  std::string path;
  int status;
  uint64_t bytes;
};

// A server with a handler of the test's.
class HttpServerTest : public ::testing::Test {
 protected:
  void start(HttpLimits limits = {}) {
    const Expected<ListenSocket> socket = listen_on("127.0.0.1", 0);
    ASSERT_TRUE(socket) << socket.error().message;
    HttpHandlers handlers{
        .check = [this](const Request& request, std::string&) { return check_(request); },
        .takes_uploads = [](const Request& request) { return request.path == "/pictures"; },
        .handle = [this](const std::shared_ptr<Exchange>& exchange) { handle_(exchange); },
        .refuse = [](const Request&, int status,
                     std::string_view message) { return error_response(status, "x", message); },
        .finish = [](Response& response) { response.set("X-All", "yes"); },
        .done =
            [this](const Request& request, const std::string&, int status, uint64_t bytes, double) {
              std::lock_guard lock(mutex_);
              done_.push_back({request.path, status, bytes});
            }};
    Expected<std::unique_ptr<HttpServer>> server =
        HttpServer::start({.socket = *socket, .limits = limits}, std::move(handlers));
    ASSERT_TRUE(server) << server.error().message;
    server_ = std::move(*server);
  }
  std::vector<Done> done() {
    std::lock_guard lock(mutex_);
    return done_;
  }
  template <typename Condition>
  static bool eventually(Condition condition) {
    for (int i = 0; i < 2000; ++i) {
      if (condition()) return true;
      std::this_thread::sleep_for(10ms);
    }
    return false;
  }

  std::mutex mutex_;
  std::vector<Done> done_;
  std::function<std::optional<Response>(const Request&)> check_ = [](const Request&) {
    return std::nullopt;
  };
  std::function<void(const std::shared_ptr<Exchange>&)> handle_ =
      [](const std::shared_ptr<Exchange>& exchange) {
        exchange->respond(text_response(200, "text/plain", exchange->request().body));
      };
  std::unique_ptr<HttpServer> server_;
};

TEST_F(HttpServerTest, AnswersWithWhatTheHandlerSays) {
  start();
  const std::string answer =
      exchange_with(server_->port(), http_request("POST /a%20b?x=1%2B1&y", "hello"));
  EXPECT_EQ(status_of(answer), 200);
  EXPECT_EQ(body_of(answer), "hello");
  EXPECT_NE(answer.find("X-All: yes"), std::string::npos);
  ASSERT_TRUE(eventually([&] { return done().size() == 1; }));
  EXPECT_EQ(done()[0].path, "/a%20b");
  EXPECT_EQ(done()[0].bytes, 5u);
}

TEST_F(HttpServerTest, TellsTheRequestAsItCame) {
  Request seen;
  handle_ = [&](const std::shared_ptr<Exchange>& exchange) {
    seen = exchange->request();
    exchange->respond({.status = 204});
  };
  start();
  exchange_with(server_->port(),
                http_request("GET /p/%2e%2e/q?x=1%2B1&y&z=a+b", "", "X-Name: Value\r\n"));
  EXPECT_EQ(seen.method, "GET");
  EXPECT_EQ(seen.path, "/p/%2e%2e/q");
  EXPECT_EQ(seen.argument("x"), "1+1");
  EXPECT_EQ(seen.argument("z"), "a b");
  EXPECT_EQ(seen.query.count("y"), 1u);
  EXPECT_EQ(seen.header("x-name"), "Value");
  EXPECT_EQ(seen.peer, "127.0.0.1");
}

TEST_F(HttpServerTest, AnswersLaterFromAnotherThread) {
  std::thread later;
  handle_ = [&](const std::shared_ptr<Exchange>& exchange) {
    later = std::thread([exchange] {
      std::this_thread::sleep_for(50ms);
      exchange->respond(text_response(201, "text/plain", "later"));
      exchange->respond(text_response(500, "text/plain", "again"));
    });
  };
  start();
  const std::string answer = exchange_with(server_->port(), http_request("GET /"));
  EXPECT_EQ(status_of(answer), 201);
  EXPECT_EQ(body_of(answer), "later");
  later.join();
}

TEST_F(HttpServerTest, ManyAnswersOnOneConnection) {
  start();
  HttpClient client(server_->port());
  for (int i = 0; i < 3; ++i) {
    client.forget();
    client.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab");
    EXPECT_EQ(body_of(client.read_until("\r\n\r\nab")), "ab") << i;
  }
}

TEST_F(HttpServerTest, RefusesABodyThatIsAnnouncedTooLargeBeforeItComes) {
  start({.body_bytes = 10});
  HttpClient client(server_->port());
  client.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\n\r\n");
  EXPECT_EQ(status_of(client.read_until("}")), 413);
}

TEST_F(HttpServerTest, RefusesAChunkedBodyThatGrowsTooLarge) {
  start({.body_bytes = 10});
  const auto chunked = [&](std::string_view chunks) {
    return exchange_with(server_->port(),
                         "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: "
                         "chunked\r\n\r\n" +
                             std::string(chunks));
  };
  EXPECT_EQ(status_of(chunked("5\r\nabcde\r\n5\r\nfghij\r\n0\r\n\r\n")), 200);
  EXPECT_EQ(status_of(chunked("5\r\nabcde\r\n6\r\nfghijk\r\n0\r\n\r\n")), 413);
}

TEST_F(HttpServerTest, PicturesMayBeLarger) {
  start({.body_bytes = 10, .upload_bytes = 20});
  const auto status = [&](std::string_view line, size_t bytes) {
    return status_of(exchange_with(server_->port(), http_request(line, std::string(bytes, 'x'))));
  };
  EXPECT_EQ(status("POST /", 11), 413);
  EXPECT_EQ(status("POST /pictures", 20), 200);
  EXPECT_EQ(status("POST /pictures", 21), 413);
}

TEST_F(HttpServerTest, PicturesOfAllTogetherAreBounded) {
  std::shared_ptr<Exchange> held;
  bool holds = true;
  handle_ = [&](const std::shared_ptr<Exchange>& exchange) {
    std::lock_guard lock(mutex_);
    if (std::exchange(holds, false)) {
      held = exchange;
    } else {
      exchange->respond(text_response(200, "text/plain", exchange->request().body));
    }
  };
  start({.body_bytes = 10, .upload_bytes = 2000, .uploads_bytes = 1500});
  HttpClient first(server_->port());
  first.send(http_request("POST /pictures", std::string(1000, 'x')));
  ASSERT_TRUE(eventually([&] {
    std::lock_guard lock(mutex_);
    return held != nullptr;
  }));
  const auto ask = [&](size_t bytes) {
    return exchange_with(server_->port(), http_request("POST /pictures", std::string(bytes, 'x')));
  };
  const std::string refused = ask(800);
  EXPECT_EQ(status_of(refused), 503);
  EXPECT_NE(refused.find("Retry-After: 1"), std::string::npos);
  EXPECT_EQ(status_of(exchange_with(server_->port(), http_request("POST /", "x"))), 200);

  // What is refused takes nobody's room, even before the end of it has come.
  HttpClient slow(server_->port());
  slow.send("POST /pictures HTTP/1.1\r\nHost: x\r\nContent-Length: 1900\r\n\r\n" +
            std::string(1899, 'x'));
  for (int i = 0; i < 10; ++i) EXPECT_TRUE(eventually([&] { return status_of(ask(400)) == 200; }));
  slow.send("x");
  EXPECT_EQ(status_of(slow.read_until("again")), 503);

  held->respond(text_response(200, "text/plain", ""));
  EXPECT_EQ(status_of(first.read_all()), 200);
  held.reset();
  EXPECT_TRUE(eventually([&] { return status_of(ask(800)) == 200; }));
}

TEST_F(HttpServerTest, ABodyThatWasReadMakesRoom) {
  std::shared_ptr<Exchange> waiting;
  handle_ = [&](const std::shared_ptr<Exchange>& exchange) {
    exchange->drop_body();
    std::lock_guard lock(mutex_);
    if (!waiting) {
      waiting = exchange;
    } else {
      exchange->respond(text_response(200, "text/plain", exchange->request().body));
    }
  };
  start({.body_bytes = 10, .upload_bytes = 1000, .uploads_bytes = 1000});
  HttpClient first(server_->port());
  first.send(http_request("POST /pictures", std::string(900, 'x')));
  ASSERT_TRUE(eventually([&] {
    std::lock_guard lock(mutex_);
    return waiting != nullptr;
  }));
  EXPECT_EQ(status_of(exchange_with(server_->port(),
                                    http_request("POST /pictures", std::string(900, 'x')))),
            200);
  waiting->respond(text_response(200, "text/plain", ""));
  EXPECT_EQ(status_of(first.read_all()), 200);
}

TEST_F(HttpServerTest, RefusesHeadersThatAreTooLarge) {
  start({.header_bytes = 1000});
  const auto with = [&](size_t bytes) {
    return status_of(exchange_with(
        server_->port(), http_request("GET /", "", "X: " + std::string(bytes, 'x') + "\r\n")));
  };
  EXPECT_EQ(with(500), 200);
  EXPECT_EQ(with(2000), 431);
  EXPECT_EQ(with(100'000), 431);  // the library's own bound
}

TEST_F(HttpServerTest, ARefusalBeforeTheBodyNeedsNone) {
  check_ = [](const Request& request) -> std::optional<Response> {
    if (request.path == "/secret") return error_response(401, "x", "no");
    return std::nullopt;
  };
  start();
  HttpClient client(server_->port());
  client.send("POST /secret HTTP/1.1\r\nHost: x\r\nContent-Length: 500000\r\n\r\n");
  EXPECT_EQ(status_of(client.read_until("}")), 401);
}

TEST_F(HttpServerTest, HeadersThatTrickleHaveADeadline) {
  start({.first_headers = 300ms});
  HttpClient client(server_->port());
  client.send("GET / HTTP/1.1\r\nHost: x\r\n");
  std::atomic<bool> stop{false};
  // Never idle for long.
  std::thread trickle([&] {
    while (!stop && client.send("X: y\r\n")) std::this_thread::sleep_for(20ms);
  });
  const std::string answer = client.read_all();
  stop = true;
  trickle.join();
  EXPECT_TRUE(client.closed());
  EXPECT_EQ(status_of(answer), 408);
}

TEST_F(HttpServerTest, ABodyThatTricklesHasADeadline) {
  start({.body = 300ms});
  HttpClient client(server_->port());
  client.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n");
  std::atomic<bool> stop{false};
  std::thread trickle([&] {
    while (!stop && client.send("x")) std::this_thread::sleep_for(20ms);
  });
  const std::string answer = client.read_all();
  stop = true;
  trickle.join();
  EXPECT_TRUE(client.closed());
  EXPECT_EQ(status_of(answer), 408);
  EXPECT_TRUE(eventually([&] { return done().size() == 1 && done()[0].status == 408; }));
}

TEST_F(HttpServerTest, AnIdleConnectionIsClosed) {
  start({.next_headers = 200ms});
  HttpClient client(server_->port());
  client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_EQ(status_of(client.read_all()), 200);
  EXPECT_TRUE(client.closed());
}

TEST_F(HttpServerTest, TheOldestIdleConnectionMakesRoom) {
  start({.connections = 20});
  std::vector<std::unique_ptr<HttpClient>> idle;
  for (int i = 0; i < 60; ++i) {
    idle.push_back(std::make_unique<HttpClient>(server_->port()));
    ASSERT_TRUE(idle.back()->connected());
  }
  for (int i = 0; i < 5; ++i)
    EXPECT_EQ(status_of(exchange_with(server_->port(), http_request("GET /"))), 200) << i;
  EXPECT_TRUE(eventually([&] { return server_->connections() <= 20; }));
  EXPECT_TRUE((idle.front()->read_all(), idle.front()->closed()));
}

TEST_F(HttpServerTest, TellsOfAClientThatLeftBeforeItsAnswer) {
  std::atomic<int> gone{0};
  std::shared_ptr<Exchange> kept;
  std::atomic<bool> handled{false};
  handle_ = [&](const std::shared_ptr<Exchange>& exchange) {
    exchange->on_gone([&] { ++gone; });
    kept = exchange;
    handled = true;
  };
  start();
  HttpClient client(server_->port());
  client.send(http_request("GET /slow"));
  ASSERT_TRUE(eventually([&] { return handled.load(); }));
  EXPECT_EQ(gone, 0);
  client.close();
  EXPECT_TRUE(eventually([&] { return gone == 1; }));
  EXPECT_TRUE(eventually([&] { return done().size() == 1; }));
  EXPECT_EQ(done()[0].status, 499);
  kept->respond(text_response(200, "text/plain", "nobody hears it"));
}

TEST_F(HttpServerTest, StreamsEventsAsTheyCome) {
  auto stream = std::make_shared<EventStream>();
  handle_ = [&](const std::shared_ptr<Exchange>& exchange) {
    Response response{.body = stream};
    response.set("Content-Type", "text/event-stream");
    exchange->respond(std::move(response));
  };
  start();
  HttpClient client(server_->port());
  client.send(http_request("GET /events"));
  EXPECT_EQ(status_of(client.read_until("\r\n\r\n")), 200);
  stream->send("a", "1");
  EXPECT_NE(client.read_until("data: 1\n\n").find("event: a\ndata: 1\n\n"), std::string::npos);
  const std::string large(1 << 20, 'x');
  stream->send("b", large);
  stream->finish();
  client.read_all();
  EXPECT_TRUE(client.closed());
  EXPECT_TRUE(eventually([&] { return stream->closed(); }));
  EXPECT_TRUE(eventually([&] { return done().size() == 1; }));
  EXPECT_EQ(done()[0].bytes, event_text("a", "1").size() + event_text("b", large).size());
}

TEST_F(HttpServerTest, AStreamWhoseClientLeftIsClosed) {
  auto stream = std::make_shared<EventStream>();
  std::atomic<int> closed{0};
  stream->on_closed([&] { ++closed; });
  handle_ = [&](const std::shared_ptr<Exchange>& exchange) { exchange->respond({.body = stream}); };
  start();
  HttpClient client(server_->port());
  client.send(http_request("GET /events"));
  client.read_until("\r\n\r\n");
  client.close();
  EXPECT_TRUE(eventually([&] { return closed == 1; }));
}

TEST_F(HttpServerTest, AStreamIsToldToBeAlive) {
  handle_ = [&](const std::shared_ptr<Exchange>& exchange) {
    exchange->respond({.body = std::make_shared<EventStream>()});
  };
  start({.comment = 0s});
  HttpClient client(server_->port());
  client.send(http_request("GET /events"));
  EXPECT_NE(client.read_until(":\n\n").find(":\n\n"), std::string::npos);
}

TEST_F(HttpServerTest, StopEndsStreamsAndAnswersWhatIsDue) {
  auto stream = std::make_shared<EventStream>();
  std::atomic<int> handled{0};
  handle_ = [&](const std::shared_ptr<Exchange>& exchange) {
    if (exchange->request().path == "/events") exchange->respond({.body = stream});
    ++handled;
  };
  start();
  HttpClient listener(server_->port()), waiting(server_->port()), idle(server_->port());
  listener.send(http_request("GET /events"));
  waiting.send(http_request("GET /waits"));
  ASSERT_TRUE(eventually([&] { return handled == 2; }));
  stream->send("last", "words");
  server_->stop(100ms);
  EXPECT_NE(listener.read_all().find("data: words"), std::string::npos);
  EXPECT_EQ(status_of(waiting.read_all()), 503);
  EXPECT_EQ(idle.read_all(), "");
  EXPECT_FALSE(HttpClient(server_->port()).connected());
}

TEST_F(HttpServerTest, GivesFilesWholeAndNoOthers) {
  const std::string folder = ::testing::TempDir();
  const std::string file = folder + "/http_server_test.bin";
  const std::string bytes(300'000, '\x80');
  std::FILE* const out = std::fopen(file.c_str(), "wb");
  ASSERT_NE(out, nullptr);
  std::fwrite(bytes.data(), 1, bytes.size(), out);
  std::fclose(out);
  handle_ = [&](const std::shared_ptr<Exchange>& exchange) {
    const bool there = exchange->request().path == "/there";
    exchange->respond({.body = FileBody{there ? file : folder + "/not-there"}});
  };
  start();
  EXPECT_EQ(body_of(exchange_with(server_->port(), http_request("GET /there"))), bytes);
  EXPECT_EQ(status_of(exchange_with(server_->port(), http_request("GET /gone"))), 404);
  const std::string head = exchange_with(server_->port(), http_request("HEAD /there"));
  EXPECT_NE(head.find("Content-Length: 300000"), std::string::npos);
  EXPECT_EQ(body_of(head), "");
  ::unlink(file.c_str());
}

TEST_F(HttpServerTest, SaysWhatIsNoHttp) {
  start();
  for (const char* junk :
       {"\r\n\r\n\r\n", "GET\r\n\r\n", "\x16\x03\x01\x02", "GET / HTTP/9.9\r\n\r\n"}) {
    HttpClient client(server_->port());
    client.send(junk);
    client.send(std::string(70'000, 'A'));
    client.read_all();
    EXPECT_TRUE(client.closed()) << junk;
  }
  EXPECT_EQ(status_of(exchange_with(server_->port(), http_request("GET /"))), 200);
}

TEST(ListenOn, SaysWhyAnAddressCannotBeHad) {
  const Expected<ListenSocket> first = listen_on("127.0.0.1", 0);
  ASSERT_TRUE(first);
  EXPECT_TRUE(first->loopback);
  const Expected<ListenSocket> second = listen_on("127.0.0.1", first->port);
  ASSERT_FALSE(second);
  EXPECT_NE(second.error().message.find("is taken by another program; --port 0 picks a free one"),
            std::string::npos);
  EXPECT_FALSE(listen_on("no such host", 0));
  EXPECT_TRUE(is_loopback_host("localhost"));
  EXPECT_TRUE(is_loopback_host("[::1]"));
  EXPECT_FALSE(is_loopback_host("0.0.0.0"));
  EXPECT_FALSE(is_loopback_host("::"));
  EXPECT_FALSE(is_loopback_host("no such host"));
  ::close(first->descriptor);
}

}  // namespace
}  // namespace intaglio::server
