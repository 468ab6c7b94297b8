// One rank's end of a group whose `all_to_all` takes the rank's index.
#pragma once

#include <span>

#include "core/collective.h"

namespace intaglio {

// Group: size() and Status all_to_all(context, rank, sent, received).
template <typename Group>
class CollectiveRank final : public Collective {
 public:
  CollectiveRank(Group& group, int index) : group_(group), index_(index) {}
  int rank() const override { return index_; }
  int size() const override { return group_.size(); }
  Status all_to_all(const Context& context, std::span<const Sent> sent,
                    std::span<const Received> received) override {
    return group_.all_to_all(context, index_, sent, received);
  }

 private:
  Group& group_;
  int index_;
};

}  // namespace intaglio
