// How many threads this process can keep busy.
#pragma once

#include <optional>

namespace intaglio {

// The processors of its affinity, or fewer if the control groups give it less time.
int usable_processors();

// That decision: a part of a processor counts as one, since two threads use a quota of 1.5 up and
// one would leave a third of it. At least 1.
int threads_for(int affinity, std::optional<double> quota);

}  // namespace intaglio
