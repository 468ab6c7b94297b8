// HTTP/1.1 on GNU libmicrohttpd: limits of size and time, answers that come later, streams.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "core/status.h"
#include "server/event_stream.h"
#include "server/http_message.h"
#include "server/listen_socket.h"

namespace intaglio::server {

struct HttpLimits {
  size_t header_bytes = 16 << 10;
  size_t body_bytes = 1 << 20;
  // Of routes that take pictures, and of all such bodies together that are above body_bytes.
  size_t upload_bytes = 32 << 20, uploads_bytes = 512 << 20;
  // From the connection, or the last answer, to the end of the headers; of the body; of the answer,
  // unless it is a stream of events. In all, however lively the connection is.
  std::chrono::milliseconds first_headers{20'000}, next_headers{75'000}, body{30'000},
      answer{600'000};
  // Above these the connection that has been idle longest is closed; where none is, the new one.
  size_t connections = 16'000;
  size_t connections_of_peer = 512;  // of an address that is not this machine's
  std::chrono::seconds comment{15};  // after which a stream is told to be alive
};

struct HttpOptions {
  ListenSocket socket;                             // the server's from here on
  std::string tls_certificate = {}, tls_key = {};  // PEM; empty: no TLS
  int threads = 2;
  HttpLimits limits = {};
};

// Room for a large body, given back with it.
class UploadRoom {
 public:
  explicit UploadRoom(std::shared_ptr<std::atomic<size_t>> used) : used_(std::move(used)) {}
  UploadRoom(UploadRoom&& other) noexcept
      : used_(std::move(other.used_)), bytes_(std::exchange(other.bytes_, 0)) {}
  UploadRoom& operator=(UploadRoom&&) = delete;
  ~UploadRoom() { give_back(); }

  // False, and nothing is taken, where all rooms together would be more than `most` bytes.
  bool take(size_t bytes, size_t most) {
    size_t used = used_->load();
    do {
      if (used + bytes > most) return false;
    } while (!used_->compare_exchange_weak(used, used + bytes));
    bytes_ += bytes;
    return true;
  }
  void give_back() {
    if (bytes_ > 0) used_->fetch_sub(std::exchange(bytes_, 0));
  }

 private:
  std::shared_ptr<std::atomic<size_t>> used_;
  size_t bytes_ = 0;
};

// A request on its way to its answer. Thread-safe.
class Exchange {
 public:
  explicit Exchange(Request request, std::shared_ptr<std::atomic<size_t>> uploads =
                                         std::make_shared<std::atomic<size_t>>(0))
      : request_(std::move(request)), room_(std::move(uploads)) {}

  const Request& request() const { return request_; }
  // For the handler alone, which has read it: others may need its room while the answer is waited
  // for.
  void drop_body();
  // The first answer counts.
  void respond(Response response);
  // `callback` runs if the client goes away before the answer, at once if it has gone; once, from a
  // thread of the server.
  void on_gone(std::function<void()> callback);
  // Which route took it, for logs and metrics: set before the handler returns.
  std::string route = "none";

 private:
  friend class HttpTransport;
  // What the transport does to wait for the answer, and to go on; under the lock.
  void client_gone();

  Request request_;
  UploadRoom room_;
  std::mutex mutex_;
  std::optional<Response> response_;
  bool answered_ = false, gone_ = false, suspended_ = false;
  std::function<void()> resume_, on_gone_;
};

struct HttpHandlers {
  // Looks at a request whose body has not been read: an answer refuses it. From a socket's thread.
  std::function<std::optional<Response>(const Request&, std::string& route)> check;
  // Whether the request may bring pictures; empty: none may.
  std::function<bool(const Request&)> takes_uploads = nullptr;
  // From a socket's thread: answers at once, or has another thread do it.
  std::function<void(const std::shared_ptr<Exchange>&)> handle;
  // What the transport itself has to refuse.
  std::function<Response(const Request&, int status, std::string_view message)> refuse;
  // Adds what every answer carries.
  std::function<void(Response&)> finish;
  // After each request: `bytes` of the answer's body that were written.
  std::function<void(const Request&, const std::string& route, int status, uint64_t bytes,
                     double seconds)>
      done;
};

class HttpServer {
 public:
  // kIo: the system's reason. kInvalidArgument: certificate and key.
  static Expected<std::unique_ptr<HttpServer>> start(const HttpOptions& options,
                                                     HttpHandlers handlers);
  virtual ~HttpServer() = default;  // stops at once

  virtual uint16_t port() const = 0;
  virtual size_t connections() const = 0;
  // Takes no more connections, ends streams, waits so long for answers that are due, then closes.
  virtual void stop(std::chrono::milliseconds patience) = 0;
};

}  // namespace intaglio::server
