#include "core/processors.h"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <thread>

#include "core/control_group.h"

namespace intaglio {
namespace {

int affinity_processors() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
  return static_cast<int>(std::thread::hardware_concurrency());
}

}  // namespace

int threads_for(int affinity, std::optional<double> quota) {
  const int processors = std::max(affinity, 1);
  if (!quota || *quota >= processors) return processors;
  return std::max(1, static_cast<int>(std::ceil(*quota)));
}

int usable_processors() {
  return threads_for(affinity_processors(), control_group_limits().processors);
}

}  // namespace intaglio
