#include "server/http_server.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <thread>

#include "core/log.h"
#include "server/connections.h"

namespace intaglio::server {

using Clock = std::chrono::steady_clock;

void Exchange::respond(Response response) {
  std::lock_guard lock(mutex_);
  if (answered_) return;
  answered_ = true;
  response_ = std::move(response);
  on_gone_ = nullptr;
  if (std::exchange(suspended_, false)) resume_();
}

void Exchange::drop_body() {
  request_.body = std::string();
  room_.give_back();
}

void Exchange::on_gone(std::function<void()> callback) {
  std::unique_lock lock(mutex_);
  if (answered_) return;
  if (!gone_) {
    on_gone_ = std::move(callback);
    return;
  }
  lock.unlock();
  callback();
}

void Exchange::client_gone() {
  std::unique_lock lock(mutex_);
  if (gone_ || answered_) return;
  gone_ = answered_ = true;
  response_ = Response{.status = 499};  // nobody reads it
  const std::function<void()> callback = std::exchange(on_gone_, nullptr);
  if (std::exchange(suspended_, false)) resume_();
  lock.unlock();
  if (callback) callback();
}

namespace {

constexpr size_t kConnectionMemory = size_t{32} << 10;  // headers and buffers of the library
constexpr size_t kMaxDiscarded = size_t{32} << 20;      // of a body that is too large
constexpr std::chrono::milliseconds kSweep{100};

struct Peer {
  std::string name;
  bool local = false;
};

Peer peer_of(const sockaddr* address) {
  char text[INET6_ADDRSTRLEN] = "";
  if (address != nullptr && address->sa_family == AF_INET) {
    const auto* v4 = reinterpret_cast<const sockaddr_in*>(address);
    ::inet_ntop(AF_INET, &v4->sin_addr, text, sizeof(text));
  } else if (address != nullptr && address->sa_family == AF_INET6) {
    const auto* v6 = reinterpret_cast<const sockaddr_in6*>(address);
    ::inet_ntop(AF_INET6, &v6->sin6_addr, text, sizeof(text));
  }
  std::string name = text;
  if (name.starts_with("::ffff:") && name.find('.') != std::string::npos) name = name.substr(7);
  return {name, name.starts_with("127.") || name == "::1"};
}

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& c : result)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
  return result;
}

MHD_Result take_header(void* target, MHD_ValueKind, const char* name, const char* value) {
  static_cast<Request*>(target)->headers.emplace(lower(name), value == nullptr ? "" : value);
  return MHD_YES;
}

MHD_Result take_argument(void* target, MHD_ValueKind, const char* name, const char* value) {
  // What cannot be decoded stays as it came: no route knows such a name or value.
  const std::string_view raw = value == nullptr ? "" : value;
  static_cast<Request*>(target)->query[percent_decoded(name).value_or(name)] =
      percent_decoded(raw).value_or(std::string(raw));
  return MHD_YES;
}

size_t keep_escapes(void*, MHD_Connection*, char* text) { return std::strlen(text); }

void log_library(void*, const char* format, va_list arguments) {
  char text[256];
  std::vsnprintf(text, sizeof(text), format, arguments);
  std::string_view line(text);
  while (line.ends_with('\n')) line.remove_suffix(1);
  log(LogLevel::kDebug, "http: {}", line);
}

// A request from its headers to the last byte of its answer.
struct Transfer {
  std::shared_ptr<Exchange> exchange;
  std::shared_ptr<EventStream> stream;
  Connection* connection = nullptr;
  Clock::time_point start = Clock::now();
  bool too_large = false, handled = false;
  bool no_room = false;   // for its body, beside those of others
  size_t most_bytes = 0;  // of the body
  size_t discarded = 0;
  int status = 0;
  uint64_t bytes = 0;
};

struct StreamReader {
  std::shared_ptr<EventStream> stream;
  Transfer* transfer;
};

ssize_t read_stream(void* closure, uint64_t, char* target, size_t size) {
  auto* const reader = static_cast<StreamReader*>(closure);
  const long read = reader->stream->read(target, size);
  if (read < 0) return MHD_CONTENT_READER_END_OF_STREAM;
  reader->transfer->bytes += static_cast<uint64_t>(read);
  return read;
}

}  // namespace

class HttpTransport : public HttpServer {
 public:
  HttpTransport(const HttpOptions& options, HttpHandlers handlers)
      : options_(options),
        handlers_(std::move(handlers)),
        connections_(options.limits),
        socket_(options.socket) {}
  ~HttpTransport() override { stop(std::chrono::milliseconds(0)); }

  Status open();
  uint16_t port() const override { return socket_.port; }
  size_t connections() const override { return connections_.size(); }
  void stop(std::chrono::milliseconds patience) override;

 private:
  static MHD_Result accept(void* self, MHD_Connection* connection, const char* url,
                           const char* method, const char* version, const char* data, size_t* size,
                           void** state);
  static void notify(void* self, MHD_Connection* connection, void** context,
                     MHD_ConnectionNotificationCode code);
  static void completed(void* self, MHD_Connection* connection, void** state,
                        MHD_RequestTerminationCode code);
  MHD_Result begin(MHD_Connection* connection, const char* url, const char* method, void** state);
  MHD_Result go_on(MHD_Connection* connection, Transfer& transfer, const char* data, size_t* size);
  MHD_Result answer(MHD_Connection* connection, Transfer& transfer, Response response);
  MHD_Response* library_response(MHD_Connection* connection, Transfer& transfer,
                                 Response& response);
  MHD_Result handle(MHD_Connection* connection, Transfer& transfer);
  void sweep();

  const HttpOptions options_;
  const HttpHandlers handlers_;
  Connections connections_;
  ListenSocket socket_;
  MHD_Daemon* daemon_ = nullptr;
  // Bytes of bodies beyond HttpLimits::body_bytes.
  const std::shared_ptr<std::atomic<size_t>> uploads_ = std::make_shared<std::atomic<size_t>>(0);
  std::atomic<bool> stopping_{false};
  std::mutex mutex_;
  std::condition_variable end_;
  bool ended_ = false;
  std::thread sweeper_;
};

Status HttpTransport::open() {
  unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG;
  std::vector<MHD_OptionItem> items{
      {MHD_OPTION_EXTERNAL_LOGGER, reinterpret_cast<intptr_t>(&log_library), nullptr},
      {MHD_OPTION_LISTEN_SOCKET, socket_.descriptor, nullptr},
      {MHD_OPTION_THREAD_POOL_SIZE, std::max(options_.threads, 2), nullptr},
      {MHD_OPTION_CONNECTION_MEMORY_LIMIT, static_cast<intptr_t>(kConnectionMemory), nullptr},
      // Ours is the one that makes room; a thread of the pool has its share of this.
      {MHD_OPTION_CONNECTION_LIMIT, static_cast<intptr_t>(2 * options_.limits.connections + 64),
       nullptr},
      {MHD_OPTION_CONNECTION_TIMEOUT, 120, nullptr},
      {MHD_OPTION_UNESCAPE_CALLBACK, reinterpret_cast<intptr_t>(&keep_escapes), nullptr},
      {MHD_OPTION_NOTIFY_COMPLETED, reinterpret_cast<intptr_t>(&completed), this},
      {MHD_OPTION_NOTIFY_CONNECTION, reinterpret_cast<intptr_t>(&notify), this},
      {MHD_OPTION_STRICT_FOR_CLIENT, 1, nullptr}};
  if (!options_.tls_certificate.empty()) {
    flags |= MHD_USE_TLS;
    items.push_back(
        {MHD_OPTION_HTTPS_MEM_CERT, 0, const_cast<char*>(options_.tls_certificate.c_str())});
    items.push_back({MHD_OPTION_HTTPS_MEM_KEY, 0, const_cast<char*>(options_.tls_key.c_str())});
  }
  items.push_back({MHD_OPTION_END, 0, nullptr});
  daemon_ = MHD_start_daemon(flags, 0, nullptr, nullptr, &accept, this, MHD_OPTION_ARRAY,
                             items.data(), MHD_OPTION_END);
  if (daemon_ == nullptr) {
    ::close(std::exchange(socket_.descriptor, -1));
    if ((flags & MHD_USE_TLS) != 0) {
      return make_error(ErrorCode::kInvalidArgument,
                        "--tls-cert, --tls-key: expected a certificate and its key in PEM, which "
                        "belong together");
    }
    return make_error(ErrorCode::kIo, "the server cannot start: {}", std::strerror(errno));
  }
  sweeper_ = std::thread([this] { sweep(); });
  return {};
}

void HttpTransport::notify(void* self, MHD_Connection* connection, void** context,
                           MHD_ConnectionNotificationCode code) {
  auto* const server = static_cast<HttpTransport*>(self);
  if (code == MHD_CONNECTION_NOTIFY_CLOSED) {
    server->connections_.remove(static_cast<Connection*>(*context));
    return;
  }
  const MHD_ConnectionInfo* const address =
      MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
  const MHD_ConnectionInfo* const socket =
      MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
  if (socket == nullptr) return;
  const Peer peer = peer_of(address == nullptr ? nullptr : address->client_addr);
  *context = server->connections_.add(socket->connect_fd, !server->options_.tls_key.empty(),
                                      peer.name, peer.local);
  // No room: the library reads the end of it at once.
  if (*context == nullptr) ::shutdown(socket->connect_fd, SHUT_RDWR);
}

MHD_Result HttpTransport::accept(void* self, MHD_Connection* connection, const char* url,
                                 const char* method, const char*, const char* data, size_t* size,
                                 void** state) {
  auto* const server = static_cast<HttpTransport*>(self);
  if (*state == nullptr) return server->begin(connection, url, method, state);
  return server->go_on(connection, *static_cast<Transfer*>(*state), data, size);
}

// The headers are there.
MHD_Result HttpTransport::begin(MHD_Connection* connection, const char* url, const char* method,
                                void** state) {
  const MHD_ConnectionInfo* const context =
      MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
  auto* const known =
      context == nullptr ? nullptr : static_cast<Connection*>(context->socket_context);
  if (known == nullptr) return MHD_NO;
  Request request{.method = method, .path = url, .peer = known->peer, .tls = known->tls};
  MHD_get_connection_values(connection, MHD_HEADER_KIND, &take_header, &request);
  MHD_get_connection_values(connection, MHD_GET_ARGUMENT_KIND, &take_argument, &request);
  auto* const transfer = new Transfer;
  *state = transfer;
  transfer->connection = known;
  transfer->exchange = std::make_shared<Exchange>(std::move(request), uploads_);
  const Request& held = transfer->exchange->request();
  const HttpLimits& limits = options_.limits;

  const MHD_ConnectionInfo* const header =
      MHD_get_connection_info(connection, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
  if (header != nullptr && header->header_size > limits.header_bytes) {
    return answer(connection, *transfer,
                  handlers_.refuse(held, 431,
                                   fmt::format("headers: at most {} bytes, found {}",
                                               limits.header_bytes, header->header_size)));
  }
  if (stopping_)
    return answer(connection, *transfer, handlers_.refuse(held, 503, "the server is stopping"));
  if (std::optional<Response> refusal = handlers_.check(held, transfer->exchange->route))
    return answer(connection, *transfer, std::move(*refusal));
  const bool uploads = handlers_.takes_uploads && handlers_.takes_uploads(held);
  transfer->most_bytes = uploads ? limits.upload_bytes : limits.body_bytes;
  const std::string_view length = held.header("content-length");
  uint64_t announced = 0;
  std::from_chars(length.data(), length.data() + length.size(), announced);
  if (announced > transfer->most_bytes) {
    return answer(connection, *transfer,
                  handlers_.refuse(held, 413,
                                   fmt::format("body: at most {} bytes, found {}",
                                               transfer->most_bytes, announced)));
  }
  connections_.enter(known, Connection::State::kBody);
  return MHD_YES;
}

MHD_Result HttpTransport::go_on(MHD_Connection* connection, Transfer& transfer, const char* data,
                                size_t* size) {
  if (*size > 0) {
    std::string& body = transfer.exchange->request_.body;
    transfer.too_large |= body.size() + *size > transfer.most_bytes;
    if (!transfer.too_large && !transfer.no_room &&
        body.size() + *size > options_.limits.body_bytes) {
      transfer.no_room = !transfer.exchange->room_.take(*size, options_.limits.uploads_bytes);
    }
    if (transfer.too_large || transfer.no_room) {
      // Read on for a while, so that the client is there for the answer.
      transfer.exchange->drop_body();
      transfer.discarded += *size;
      if (transfer.discarded > kMaxDiscarded) return MHD_NO;
    } else {
      body.append(data, *size);
    }
    *size = 0;
    return MHD_YES;
  }
  if (transfer.too_large) {
    return answer(
        connection, transfer,
        handlers_.refuse(transfer.exchange->request(), 413,
                         fmt::format("body: at most {} bytes, found more", transfer.most_bytes)));
  }
  if (transfer.no_room) {
    Response response =
        handlers_.refuse(transfer.exchange->request(), 503,
                         "others send pictures, too, and there is no room for more; try again");
    response.set("Retry-After", "1");
    return answer(connection, transfer, std::move(response));
  }
  return handle(connection, transfer);
}

MHD_Result HttpTransport::handle(MHD_Connection* connection, Transfer& transfer) {
  Exchange& exchange = *transfer.exchange;
  if (!transfer.handled) {
    transfer.handled = true;
    connections_.enter(transfer.connection, Connection::State::kHandling, transfer.exchange);
    exchange.resume_ = [connection] { MHD_resume_connection(connection); };
    handlers_.handle(transfer.exchange);
  }
  std::unique_lock lock(exchange.mutex_);
  if (!exchange.response_) {
    exchange.suspended_ = true;
    MHD_suspend_connection(connection);
    return MHD_YES;
  }
  Response response = std::move(*exchange.response_);
  exchange.response_.reset();
  lock.unlock();
  return answer(connection, transfer, std::move(response));
}

MHD_Response* HttpTransport::library_response(MHD_Connection* connection, Transfer& transfer,
                                              Response& response) {
  if (auto* const text = std::get_if<std::string>(&response.body)) {
    transfer.bytes = text->size();
    return MHD_create_response_from_buffer(text->size(), text->data(), MHD_RESPMEM_MUST_COPY);
  }
  if (const auto* const file = std::get_if<FileBody>(&response.body)) {
    const int descriptor = ::open(file->path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    struct stat status {};
    if (descriptor < 0 || ::fstat(descriptor, &status) != 0 || !S_ISREG(status.st_mode)) {
      if (descriptor >= 0) ::close(descriptor);
      response = handlers_.refuse(transfer.exchange->request(), 404, "the file is gone");
      return library_response(connection, transfer, response);
    }
    transfer.bytes = static_cast<uint64_t>(status.st_size);
    return MHD_create_response_from_fd64(transfer.bytes, descriptor);
  }
  constexpr size_t kBlock = 16 << 10;
  transfer.stream = std::get<std::shared_ptr<EventStream>>(response.body);
  transfer.stream->set_reader([connection] { MHD_suspend_connection(connection); },
                              [connection] { MHD_resume_connection(connection); });
  return MHD_create_response_from_callback(
      MHD_SIZE_UNKNOWN, kBlock, &read_stream, new StreamReader{transfer.stream, &transfer},
      [](void* closure) { delete static_cast<StreamReader*>(closure); });
}

MHD_Result HttpTransport::answer(MHD_Connection* connection, Transfer& transfer,
                                 Response response) {
  // Whatever comes late is not for this client.
  {
    std::lock_guard lock(transfer.exchange->mutex_);
    transfer.exchange->answered_ = true;
    transfer.exchange->on_gone_ = nullptr;
  }
  MHD_Response* const library = library_response(connection, transfer, response);
  handlers_.finish(response);
  if (library == nullptr) return MHD_NO;
  for (const auto& [name, value] : response.headers)
    MHD_add_response_header(library, name.c_str(), value.c_str());
  if (stopping_) MHD_add_response_header(library, "Connection", "close");
  transfer.status = response.status;
  if (transfer.stream) {
    connections_.enter(transfer.connection, Connection::State::kStream, nullptr, transfer.stream);
  } else {
    connections_.enter(transfer.connection, Connection::State::kAnswer);
  }
  const MHD_Result result =
      MHD_queue_response(connection, static_cast<unsigned>(response.status), library);
  MHD_destroy_response(library);
  return result;
}

void HttpTransport::completed(void* self, MHD_Connection*, void** state,
                              MHD_RequestTerminationCode) {
  auto* const server = static_cast<HttpTransport*>(self);
  const std::unique_ptr<Transfer> transfer(static_cast<Transfer*>(std::exchange(*state, nullptr)));
  if (transfer == nullptr) return;
  {
    // The connection may be another request's from here on.
    std::lock_guard lock(transfer->exchange->mutex_);
    transfer->exchange->suspended_ = false;
  }
  transfer->exchange->client_gone();
  if (transfer->stream) {
    transfer->stream->set_reader(nullptr, nullptr);
    transfer->stream->close();
  }
  server->connections_.enter(transfer->connection, Connection::State::kIdle);
  // 408 and 499 where the request never got its answer.
  const int status = transfer->status != 0 ? transfer->status : transfer->handled ? 499 : 408;
  server->handlers_.done(transfer->exchange->request(), transfer->exchange->route, status,
                         transfer->bytes,
                         std::chrono::duration<double>(Clock::now() - transfer->start).count());
}

void HttpTransport::sweep() {
  std::unique_lock lock(mutex_);
  while (!end_.wait_for(lock, kSweep, [this] { return ended_; })) {
    lock.unlock();
    const Clock::time_point now = Clock::now();
    Connections::Due due = connections_.sweep(now);
    for (const std::shared_ptr<Exchange>& exchange : due.gone) exchange->client_gone();
    for (const std::shared_ptr<EventStream>& stream : due.gone_streams) stream->close();
    for (const std::shared_ptr<EventStream>& stream : due.streams)
      stream->comment_if_quiet(now, options_.limits.comment);
    lock.lock();
  }
}

void HttpTransport::stop(std::chrono::milliseconds patience) {
  if (daemon_ == nullptr) return;
  stopping_ = true;
  const MHD_socket listening = MHD_quiesce_daemon(daemon_);
  const auto settle = [this](std::chrono::milliseconds most) {
    const Clock::time_point end = Clock::now() + most;
    while (connections_.busy() > 0 && Clock::now() < end)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
  };
  for (const std::shared_ptr<EventStream>& stream : connections_.streams()) stream->finish();
  settle(patience);
  constexpr std::chrono::milliseconds kLastWords{500};
  for (const std::shared_ptr<Exchange>& exchange : connections_.exchanges()) {
    exchange->respond(
        handlers_.refuse(exchange->request(), 503, "the server stopped before this was done"));
  }
  settle(kLastWords);
  // The library must not be stopped while anything is suspended.
  for (const std::shared_ptr<EventStream>& stream : connections_.streams()) stream->close();
  {
    std::lock_guard lock(mutex_);
    ended_ = true;
  }
  end_.notify_all();
  sweeper_.join();
  MHD_stop_daemon(daemon_);
  daemon_ = nullptr;
  if (listening != MHD_INVALID_SOCKET) ::close(listening);
}

Expected<std::unique_ptr<HttpServer>> HttpServer::start(const HttpOptions& options,
                                                        HttpHandlers handlers) {
  auto server = std::make_unique<HttpTransport>(options, std::move(handlers));
  INTAGLIO_TRY(server->open());
  return server;
}

}  // namespace intaglio::server
