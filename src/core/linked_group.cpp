#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <vector>

#include "core/collective_rank.h"
#include "core/device_link.h"
#include "core/memory.h"

namespace intaglio {
namespace {

// Of pinned host memory for each pair of GPUs that do not reach each other: longer pieces go in
// parts.
constexpr size_t kPartBytes = size_t{8} << 20;
// How often a rank that waits looks at its flag.
constexpr auto kLook = std::chrono::milliseconds(1);

class LinkedGroup final : public CollectiveGroup {
 public:
  static Expected<std::unique_ptr<CollectiveGroup>> make(std::span<const Context* const> contexts) {
    auto group = std::make_unique<LinkedGroup>();
    const size_t size = contexts.size();
    group->posted_.resize(size);
    group->links_.resize(size * size);
    for (size_t i = 0; i < size; ++i) {
      group->ranks_.emplace_back(*group, static_cast<int>(i));
      for (size_t j = 0; j < size; ++j) {
        if (i == j) continue;
        INTAGLIO_ASSIGN(group->links_[i * size + j],
                        make_device_link(*contexts[i], *contexts[j], kPartBytes));
      }
    }
    return group;
  }

  int size() const override { return static_cast<int>(ranks_.size()); }
  Collective& rank(int index) override { return ranks_[static_cast<size_t>(index)]; }

  void abort() override {
    const std::lock_guard<std::mutex> lock(mutex_);
    aborted_ = true;
    changed_.notify_all();
  }
  Status restart() override {
    const std::lock_guard<std::mutex> lock(mutex_);
    aborted_ = false;
    arrived_ = 0;
    return {};
  }

 private:
  using Sent = Collective::Sent;
  using Received = Collective::Received;

  using Rank = CollectiveRank<LinkedGroup>;
  friend Rank;

  DeviceLink& link(int from, int to) {
    return *links_[static_cast<size_t>(from) * ranks_.size() + static_cast<size_t>(to)];
  }

  // The receiver copies: once all have come its stream may be told to wait for the senders', and
  // once all have copied a sender's stream for the receivers'.
  Status all_to_all(const Context& context, int rank, std::span<const Sent> sent,
                    std::span<const Received> received) {
    INTAGLIO_TRY(post(rank, sent));
    INTAGLIO_TRY(meet(context));
    INTAGLIO_TRY(take(context, rank, received));
    INTAGLIO_TRY(meet(context));
    for (int to = 0; to < size(); ++to)
      if (to != rank) INTAGLIO_TRY(link(rank, to).wait_for_reads());
    return {};
  }

  // A copy of the list: an abort may end the sender's call while another reads it.
  Status post(int rank, std::span<const Sent> sent) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (aborted_) return aborted();
    posted_[static_cast<size_t>(rank)].assign(sent.begin(), sent.end());
    return {};
  }

  Status take(const Context& context, int rank, std::span<const Received> received) {
    for (int from = 0; from < size(); ++from) {
      size_t next = 0;
      const std::vector<Sent>& posted = posted_[static_cast<size_t>(from)];
      const auto next_sent = [&]() -> const Sent* {
        while (next < posted.size() && posted[next].to != rank) ++next;
        return next < posted.size() ? &posted[next++] : nullptr;
      };
      for (const Received& piece : received) {
        if (piece.from != from) continue;
        const Sent* const source = next_sent();
        if (source == nullptr || source->bytes != piece.bytes)
          return make_error(ErrorCode::kInternal,
                            "rank {} expects a piece of {} bytes of rank {}, which sends {}", rank,
                            piece.bytes, from, source == nullptr ? 0 : source->bytes);
        INTAGLIO_TRY(copy(context, rank, *source, piece));
      }
      if (next_sent() != nullptr)
        return make_error(ErrorCode::kInternal, "rank {} sends more pieces than rank {} expects",
                          from, rank);
    }
    return {};
  }

  Status copy(const Context& context, int rank, const Sent& source, const Received& target) {
    if (target.from == rank) return copy_inside(context, target.data, source.data, target.bytes);
    for (size_t at = 0; at < target.bytes; at += kPartBytes)
      INTAGLIO_TRY(link(target.from, rank)
                       .copy(static_cast<std::byte*>(target.data) + at,
                             static_cast<const std::byte*>(source.data) + at,
                             std::min(kPartBytes, target.bytes - at)));
    return {};
  }

  // Returns once all ranks have called it as often.
  Status meet(const Context& context) {
    std::unique_lock<std::mutex> lock(mutex_);
    if (aborted_) return aborted();
    if (++arrived_ == ranks_.size()) {
      arrived_ = 0;
      ++meetings_;
      changed_.notify_all();
      return {};
    }
    for (const uint64_t before = meetings_; meetings_ == before;) {
      if (aborted_) return aborted();
      INTAGLIO_TRY(check_cancelled(context));
      changed_.wait_for(lock, kLook);
    }
    return {};
  }

  static tl::unexpected<Error> aborted() {
    return make_error(ErrorCode::kCancelled, "another device has stopped");
  }

  std::vector<Rank> ranks_;
  std::vector<std::unique_ptr<DeviceLink>> links_;  // [from, to]
  std::vector<std::vector<Sent>> posted_;           // of each rank, in the call at work
  std::mutex mutex_;
  std::condition_variable changed_;
  size_t arrived_ = 0;
  uint64_t meetings_ = 0;
  bool aborted_ = false;
};

}  // namespace

Expected<std::unique_ptr<CollectiveGroup>> make_linked_group(
    std::span<const Context* const> contexts) {
  return LinkedGroup::make(contexts);
}

}  // namespace intaglio
