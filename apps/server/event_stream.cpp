#include "server/event_stream.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace intaglio::server {

std::string event_text(std::string_view name, std::string_view data) {
  std::string text;
  text.reserve(data.size() + name.size() + 32);
  if (!name.empty()) text.append("event: ").append(name).append("\n");
  do {
    const size_t end = std::min(data.find('\n'), data.size());
    text.append("data: ").append(data.substr(0, end)).append("\n");
    data.remove_prefix(std::min(end + 1, data.size()));
  } while (!data.empty());
  return text + "\n";
}

void EventStream::send(std::string_view name, std::string_view data, Keep keep,
                       const std::string& group) {
  Event event{event_text(name, data), group, keep == Keep::kDroppable};
  std::unique_lock lock(mutex_);
  if (finished_ || closed_) return;
  if (event.droppable) {
    // The first one may be on its way already.
    for (size_t i = offset_ > 0 ? 1 : 0; i < events_.size(); ++i) {
      if (!events_[i].droppable || events_[i].group != group) continue;
      bytes_ -= events_[i].text.size();
      events_.erase(events_.begin() + static_cast<std::ptrdiff_t>(i));
      break;
    }
    if (bytes_ + event.text.size() > kMaxBytes) return;
  }
  bytes_ += event.text.size();
  events_.push_back(std::move(event));
  last_ = Clock::now();
  // A client that does not even read states is no client.
  if (bytes_ > kMaxBytes) {
    lock.unlock();
    close();
    lock.lock();
  }
  wake();
}

void EventStream::comment_if_quiet(Clock::time_point now, std::chrono::seconds quiet) {
  std::lock_guard lock(mutex_);
  if (finished_ || closed_ || now - last_ < quiet) return;
  last_ = now;
  events_.push_back({":\n\n", "", false});
  bytes_ += 3;
  wake();
}

void EventStream::finish() {
  std::lock_guard lock(mutex_);
  finished_ = true;
  wake();
}

void EventStream::close() {
  std::unique_lock lock(mutex_);
  closed_ = true;
  std::function<void()> callback = std::exchange(on_closed_, nullptr);
  wake();
  lock.unlock();
  if (callback) callback();
}

bool EventStream::closed() const {
  std::lock_guard lock(mutex_);
  return closed_;
}

void EventStream::on_closed(std::function<void()> callback) {
  std::unique_lock lock(mutex_);
  if (!closed_) {
    on_closed_ = std::move(callback);
    return;
  }
  lock.unlock();
  callback();
}

void EventStream::set_reader(std::function<void()> suspend, std::function<void()> resume) {
  std::lock_guard lock(mutex_);
  suspend_ = std::move(suspend);
  resume_ = std::move(resume);
}

long EventStream::read(char* target, size_t size) {
  std::lock_guard lock(mutex_);
  if (closed_) return -1;
  size_t written = 0;
  while (written < size && !events_.empty()) {
    const std::string& text = events_.front().text;
    const size_t n = std::min(text.size() - offset_, size - written);
    std::memcpy(target + written, text.data() + offset_, n);
    written += n;
    offset_ += n;
    if (offset_ < text.size()) break;
    bytes_ -= text.size();
    offset_ = 0;
    events_.pop_front();
  }
  if (written > 0) return static_cast<long>(written);
  if (finished_) return -1;
  if (suspend_) suspend_();
  suspended_ = true;
  return 0;
}

size_t EventStream::waiting_bytes() const {
  std::lock_guard lock(mutex_);
  return bytes_;
}

void EventStream::wake() {
  if (std::exchange(suspended_, false) && resume_) resume_();
}

}  // namespace intaglio::server
