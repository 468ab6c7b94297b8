// Server-sent events of one client (WHATWG HTML, "Server-sent events"), between who makes them and
// the thread that writes them to the socket.
#pragma once

#include <chrono>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

namespace intaglio::server {

// Bounded: a client that reads slowly misses what is superseded, or is let go. Thread-safe.
class EventStream {
 public:
  using Clock = std::chrono::steady_clock;
  // kDroppable: one that the next makes needless, as of progress; those of a `group` that still
  // wait are replaced by the newest, and none is taken in where the queue is full.
  enum class Keep { kAlways, kDroppable };
  static constexpr size_t kMaxBytes = size_t{8} << 20;  // that wait

  // `name` empty: data alone. Lines of `data` become lines of the event.
  void send(std::string_view name, std::string_view data, Keep keep = Keep::kAlways,
            const std::string& group = "");
  // A line that clients pass over, if nothing was sent for `quiet`.
  void comment_if_quiet(Clock::time_point now, std::chrono::seconds quiet);
  // No more events; what waits is still written.
  void finish();
  // From the transport: nobody reads any more. Calls what on_closed() was given, once.
  void close();
  bool closed() const;

  // `callback` runs once the transport is done with the stream, at once if it is; maybe from within
  // send(), so it hands over what takes locks to another thread.
  void on_closed(std::function<void()> callback);
  // What the reader does when nothing waits, and when there is something again: one after the other
  // in this order, under the stream's lock.
  void set_reader(std::function<void()> suspend, std::function<void()> resume);

  // Up to `size` bytes; 0: nothing waits, the reader is suspended; -1: the end.
  long read(char* target, size_t size);
  size_t waiting_bytes() const;

 private:
  struct Event {
    std::string text, group;
    bool droppable = false;
  };
  void wake();

  mutable std::mutex mutex_;
  std::deque<Event> events_;
  size_t bytes_ = 0, offset_ = 0;  // of all events; read already of the first
  bool finished_ = false, closed_ = false, suspended_ = false;
  Clock::time_point last_ = Clock::now();
  std::function<void()> suspend_, resume_, on_closed_;
};

// "event: NAME\ndata: ...\n\n"
std::string event_text(std::string_view name, std::string_view data);

}  // namespace intaglio::server
