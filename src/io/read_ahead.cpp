#include "io/read_ahead.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <utility>

#include "core/side_task.h"

namespace intaglio {
namespace {

uint64_t bytes_of(const std::vector<ReadAhead::Range>& ranges) {
  uint64_t bytes = 0;
  for (const ReadAhead::Range& range : ranges) bytes += range.bytes;
  return bytes;
}

}  // namespace

// By a thread of its own: even of what is in the system's cache every page is looked up.
struct ReadAhead::Asking {
  std::map<const InputFile*, int> descriptors;  // -1: it cannot be opened again
  SideTask task;                                // the only one that uses them, until it is over

  ~Asking() {
    static_cast<void>(task.wait());
    for (const auto& [file, descriptor] : descriptors)
      if (descriptor >= 0) ::close(descriptor);
  }
  void ask(const Range& range);
};

ReadAhead::ReadAhead() : asking_(std::make_unique<Asking>()) {}
ReadAhead::ReadAhead(ReadAhead&& other) noexcept = default;
ReadAhead::~ReadAhead() = default;

void ReadAhead::Asking::ask(const Range& range) {
  const auto [found, is_new] = descriptors.try_emplace(range.file, -1);
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
  std::vector<Range> due;
  for (; asked_ < groups_.size(); ++asked_) {
    const uint64_t bytes = bytes_of(groups_[asked_]);
    if (ahead_ > 0 && ahead_ + bytes > kMostAhead) break;
    due.insert(due.end(), groups_[asked_].begin(), groups_[asked_].end());
    ahead_ += bytes;
  }
  if (due.empty()) return;
  Asking* const asking = asking_.get();
  static_cast<void>(asking->task.start([asking, due = std::move(due)]() -> Status {
    for (const Range& range : due) asking->ask(range);
    return {};
  }));
}

}  // namespace intaglio
