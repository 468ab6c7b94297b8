// What a service says on stderr: one line a request or message.
#pragma once

#include <mutex>
#include <string>

#include "serve/request_log.h"

namespace CLI {
class App;
}

namespace intaglio::cli {

// Takes the library's messages while it is there. Thread-safe.
class MessageLog {
 public:
  explicit MessageLog(const std::string& format);  // "text" or "json"
  ~MessageLog();
  MessageLog(const MessageLog&) = delete;
  MessageLog& operator=(const MessageLog&) = delete;

  void request(const server::Request& request, int status, uint64_t bytes, double seconds);
  void message(const std::string& level, const std::string& text);

 private:
  void write(const std::string& line);

  const LogFormat format_;
  std::mutex mutex_;
};

void add_log_format_flag(CLI::App& command, std::string& format);

}  // namespace intaglio::cli
