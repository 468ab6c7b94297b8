// What the control groups (cgroup version 1 and 2) of this process leave it: a container's share of
// processors, memory and threads.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

namespace intaglio {

// Each is the least of the process's own group and all those around it; nullopt: no limit.
struct ControlGroupLimits {
  std::optional<double> processors;  // quota a period, e.g. 1.5
  // Limit less what is used. Cached pages of files do not count as used: the kernel takes them back
  // first.
  std::optional<uint64_t> memory_left;
  std::optional<uint64_t>
      threads;  // that may exist in the group at once, those of other processes included
};

// `root` is the folder that proc and the mounted groups lie in. What is missing or cannot be
// understood limits nothing.
ControlGroupLimits control_group_limits(const std::filesystem::path& root = "/");

}  // namespace intaglio
