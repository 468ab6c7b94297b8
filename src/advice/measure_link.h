// What exchanges between the cards at hand take: the two figures that advice/split_model.h knows
// from data sheets or assumes.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "core/collective.h"
#include "core/context.h"
#include "core/status.h"

namespace intaglio {

struct TimedExchange {
  size_t bytes = 0;  // that each rank sends to each other one
  int ranks = 0;
  std::vector<double> ms;  // of an exchange, a value a round: of the rank that was last
  // Out of a rank, and as much into it, in an exchange of that time.
  double gb_s(double exchange_ms) const;
};

// All to all of equal pieces, as attention of a shared pass gives its heads, by the ranks of
// `group`, whose contexts these are; each has a thread. A round is as many exchanges one behind the
// other as take some milliseconds. What arrives is looked at once. kCancelled once a context's flag
// is set; kInternal for bytes that are not those that were sent. After an error the group is good
// for a restart.
Expected<TimedExchange> time_exchange(std::span<const Context* const> contexts,
                                      CollectiveGroup& group, size_t bytes, int rounds);

}  // namespace intaglio
