#pragma once

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <string>
#include <vector>

#include "core/escape.h"
#include "core/status.h"

namespace intaglio {

// The errors of several checks, which are all made.
class Problems {
 public:
  void note(const Status& status) {
    if (status) return;
    if (messages_.empty()) code_ = status.error().code;
    messages_.push_back(status.error().message);
  }
  Status status() const {
    if (messages_.empty()) return {};
    return make_error(code_, "{}", OwnLines{fmt::format("{}", fmt::join(messages_, "\n  "))});
  }

 private:
  ErrorCode code_ = ErrorCode::kBadFormat;
  std::vector<std::string> messages_;
};

}  // namespace intaglio
