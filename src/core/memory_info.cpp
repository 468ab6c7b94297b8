#include "core/memory_info.h"

#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <fstream>
#include <limits>
#include <stdexcept>

#include "core/control_group.h"

namespace intaglio {
namespace {

constexpr uint64_t kUnlimited = std::numeric_limits<uint64_t>::max();

uint64_t system_available(const std::filesystem::path& root) {
  std::ifstream file(root / "proc/meminfo");
  std::string key;
  uint64_t kilobytes = 0;
  std::string unit;
  while (file >> key >> kilobytes >> unit) {
    if (key == "MemAvailable:") return kilobytes * 1024;
  }
  return static_cast<uint64_t>(sysconf(_SC_AVPHYS_PAGES)) *
         static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

// Of RLIMIT_AS and RLIMIT_DATA, less what is used of them: fields 1 and 6 of statm.
uint64_t limits_available(const std::filesystem::path& root) {
  std::ifstream file(root / "proc/self/statm");
  std::array<uint64_t, 6> pages{};
  for (uint64_t& field : pages)
    if (!(file >> field)) break;
  const auto page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  uint64_t available = kUnlimited;
  const auto keep_least = [&](int resource, uint64_t used) {
    rlimit limit{};
    if (getrlimit(resource, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return;
    available = std::min<uint64_t>(available, limit.rlim_cur - std::min(limit.rlim_cur, used));
  };
  keep_least(RLIMIT_AS, pages[0] * page);
  keep_least(RLIMIT_DATA, pages[5] * page);
  return available;
}

}  // namespace

uint64_t available_memory_bytes(const std::filesystem::path& root) {
  return std::min({system_available(root), limits_available(root),
                   control_group_limits(root).memory_left.value_or(kUnlimited)});
}

uint64_t peak_resident_bytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<uint64_t>(usage.ru_maxrss) * 1024;
}

std::string format_bytes(uint64_t bytes) {
  constexpr std::array<const char*, 5> kUnits{"B", "KiB", "MiB", "GiB", "TiB"};
  auto value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 1024.0 && unit + 1 < kUnits.size()) {
    value /= 1024.0;
    ++unit;
  }
  return unit == 0 ? fmt::format("{} B", bytes) : fmt::format("{:.1f} {}", value, kUnits[unit]);
}

std::optional<uint64_t> parse_bytes(std::string_view text) {
  size_t used = 0;
  double value = 0.0;
  try {
    value = std::stod(std::string(text), &used);
  } catch (const std::logic_error&) {  // no number, or too large a one
    return std::nullopt;
  }
  std::string unit(text.substr(used));
  std::transform(unit.begin(), unit.end(), unit.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  constexpr std::array<std::string_view, 5> kUnits{"", "K", "M", "G", "T"};
  double scale = 1.0;
  for (std::string_view name : kUnits) {
    const std::string prefix(name);
    if (unit == prefix || unit == prefix + "B" || unit == prefix + "IB") {
      const double bytes = value * scale;
      if (!std::isfinite(bytes) || bytes < 0.0 || bytes > 1e18) return std::nullopt;
      return static_cast<uint64_t>(bytes);
    }
    scale *= 1024.0;
  }
  return std::nullopt;
}

}  // namespace intaglio
