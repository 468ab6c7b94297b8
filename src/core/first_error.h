// The error of a parallel loop: of all that failed, the one of the lowest piece.
#pragma once

#include <cstdint>
#include <mutex>
#include <utility>

#include "core/status.h"

namespace intaglio {

class FirstError {
 public:
  // Called by any thread.
  void keep(int64_t piece, Status status) {
    if (status) return;
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!status_ && at_ <= piece) return;
    at_ = piece;
    status_ = std::move(status);
  }
  // Once the loop is over.
  const Status& status() const { return status_; }

 private:
  std::mutex mutex_;
  int64_t at_ = 0;
  Status status_;
};

}  // namespace intaglio
