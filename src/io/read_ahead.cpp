#include "io/read_ahead.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

namespace intaglio {
namespace {

uint64_t bytes_of(const std::vector<ReadAhead::Range>& ranges) {
  uint64_t bytes = 0;
  for (const ReadAhead::Range& range : ranges) bytes += range.bytes;
  return bytes;
}

}  // namespace

ReadAhead::ReadAhead(ReadAhead&& other) noexcept
    : groups_(std::move(other.groups_)),
      descriptors_(std::exchange(other.descriptors_, {})),
      asked_(other.asked_),
      ahead_(other.ahead_),
      reached_(other.reached_) {}

ReadAhead::~ReadAhead() {
  for (const auto& [file, descriptor] : descriptors_)
    if (descriptor >= 0) ::close(descriptor);
}

void ReadAhead::ask(const Range& range) {
  const auto [found, is_new] = descriptors_.try_emplace(range.file, -1);
  if (is_new) found->second = ::open(range.file->path().c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  // The system takes little of a long range at once.
  constexpr uint64_t kPiece = uint64_t{2} << 20;
  for (uint64_t done = 0; found->second >= 0 && done < range.bytes; done += kPiece) {
    static_cast<void>(::posix_fadvise(found->second, static_cast<off_t>(range.at + done),
                                      static_cast<off_t>(std::min(kPiece, range.bytes - done)),
                                      POSIX_FADV_WILLNEED));
  }
}

void ReadAhead::reached(size_t index) {
  for (; reached_ <= index && reached_ < groups_.size(); ++reached_) {
    if (reached_ < asked_) {
      ahead_ -= bytes_of(groups_[reached_]);
    } else {
      asked_ = reached_ + 1;
    }
  }
  while (asked_ < groups_.size()) {
    const uint64_t bytes = bytes_of(groups_[asked_]);
    if (ahead_ > 0 && ahead_ + bytes > kMostAhead) return;
    for (const Range& range : groups_[asked_]) ask(range);
    ahead_ += bytes;
    ++asked_;
  }
}

}  // namespace intaglio
