#include "server/redis_events.h"

#include "server/clock.h"

namespace intaglio::server {
namespace {

constexpr std::chrono::milliseconds kLook{100};
constexpr double kQuiet = 5;     // seconds, then it is asked whether it is there
constexpr double kPatience = 5;  // more, then it is not

}  // namespace

RedisEvents::RedisEvents(std::shared_ptr<RedisClient> client, Handlers handlers)
    : client_(std::move(client)), handlers_(std::move(handlers)) {
  thread_ = std::thread([this] { run(); });
}

RedisEvents::~RedisEvents() {
  stopping_ = true;
  thread_.join();
}

void RedisEvents::run() {
  while (!stopping_) {
    const auto connection = client_->connect();
    if (connection && (*connection)->command({"SUBSCRIBE", RedisJobs::channel()}))
      listen(**connection);
    if (!stopping_) std::this_thread::sleep_for(kLook);
  }
}

void RedisEvents::listen(RedisConnection& connection) {
  bool told = handlers_.connected();
  double heard = system_clock().steady(), asked = 0;
  while (!stopping_) {
    const auto message = connection.next(kLook);
    if (!message) return;
    if (!told) told = handlers_.connected();
    const double now = system_clock().steady();
    if (*message) {
      heard = now;
      asked = 0;
      hear(**message);
    } else if (asked > 0 && now - asked > kPatience) {
      return;
    } else if (asked == 0 && now - heard > kQuiet) {
      if (!connection.send({"PING"})) return;
      asked = now;
    }
  }
}

void RedisEvents::hear(const RedisValue& message) const {
  if (message.items.size() != 3 || message.items[0].text != "message") return;
  if (std::optional<RedisEvent> event = RedisJobs::read_event(message.items[2].text))
    handlers_.heard(std::move(*event));
}

}  // namespace intaglio::server
