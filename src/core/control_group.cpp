#include "core/control_group.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

namespace intaglio {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> words_of(const std::string& line, char separator) {
  std::vector<std::string> words;
  std::istringstream stream(line);
  for (std::string word; std::getline(stream, word, separator);) words.push_back(word);
  return words;
}

bool has_word(const std::string& list, std::string_view word) {
  const std::vector<std::string> words = words_of(list, ',');
  return std::find(words.begin(), words.end(), word) != words.end();
}

// A whole number and nothing else. "max" and "-1", no limit, are none.
std::optional<uint64_t> number_of(std::string_view text) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::vector<std::string> first_line(const fs::path& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return words_of(line, ' ');
}

std::optional<uint64_t> read_number(const fs::path& path) {
  const std::vector<std::string> words = first_line(path);
  return words.size() == 1 ? number_of(words[0]) : std::nullopt;
}

template <typename T>
void keep_least(std::optional<T>& least, std::optional<T> value) {
  if (value && (!least || *value < *least)) least = value;
}

// A mounted part of a hierarchy of groups.
struct Mount {
  bool version2 = false;
  std::string options;  // of the file system: the controllers of a hierarchy of version 1
  fs::path top;         // the group that is mounted
  fs::path folder;      // where
};

// Blanks and such are \ooo there.
fs::path unescaped(const std::string& text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto digit = [&](size_t at) {
      return at < text.size() && text[at] >= '0' && text[at] <= '7' ? text[at] - '0' : -1;
    };
    if (text[i] == '\\' && digit(i + 1) >= 0 && digit(i + 2) >= 0 && digit(i + 3) >= 0) {
      out += static_cast<char>(digit(i + 1) * 64 + digit(i + 2) * 8 + digit(i + 3));
      i += 3;
    } else {
      out += text[i];
    }
  }
  return out;
}

// "30 22 0:27 /top /where rw,relatime shared:1 - cgroup2 cgroup2 rw": any number of words before
// the dash.
std::vector<Mount> read_mounts(const fs::path& root) {
  std::vector<Mount> mounts;
  std::ifstream file(root / "proc/self/mountinfo");
  for (std::string line; std::getline(file, line);) {
    const std::vector<std::string> words = words_of(line, ' ');
    const auto dash = std::find(words.begin(), words.end(), "-");
    if (dash - words.begin() < 6 || words.end() - dash < 4) continue;
    const std::string& type = dash[1];
    if (type != "cgroup" && type != "cgroup2") continue;
    mounts.push_back({type == "cgroup2", dash[3], unescaped(words[3]),
                      root / unescaped(words[4]).relative_path()});
  }
  return mounts;
}

// The folders of a group and of those around it, as far as they are mounted. A group outside of
// what is mounted (a container's own name space shows that) leaves the mounted top.
std::vector<fs::path> folders_of(const Mount& mount, const fs::path& group) {
  fs::path below = group.lexically_relative(mount.top);
  if (below.empty() || *below.begin() == "..") below = ".";
  std::vector<fs::path> folders{mount.folder};
  for (const fs::path& part : below)
    if (part != "." && !part.empty()) folders.push_back(folders.back() / part);
  return folders;
}

// Pages of files that the kernel can drop.
uint64_t cached_bytes(const fs::path& folder, bool version2) {
  uint64_t bytes = 0;
  std::ifstream file(folder / "memory.stat");
  for (std::string line; std::getline(file, line);) {
    const std::vector<std::string> words = words_of(line, ' ');
    if (words.size() != 2) continue;
    std::string_view key = words[0];
    if (!version2) {
      if (!key.starts_with("total_")) continue;
      key.remove_prefix(6);
    }
    if (key == "inactive_file" || key == "active_file") bytes += number_of(words[1]).value_or(0);
  }
  return bytes;
}

void read_memory(const fs::path& folder, bool version2, ControlGroupLimits& limits) {
  std::optional<uint64_t> limit =
      read_number(folder / (version2 ? "memory.max" : "memory.limit_in_bytes"));
  // Beyond the high mark the kernel slows the group down until it stands still.
  if (version2) keep_least(limit, read_number(folder / "memory.high"));
  if (!limit) return;
  uint64_t used =
      read_number(folder / (version2 ? "memory.current" : "memory.usage_in_bytes")).value_or(0);
  used -= std::min(used, cached_bytes(folder, version2));
  keep_least<uint64_t>(limits.memory_left, *limit - std::min(*limit, used));
}

void read_processors(const fs::path& folder, bool version2, ControlGroupLimits& limits) {
  std::optional<uint64_t> quota, period;
  if (version2) {
    const std::vector<std::string> words = first_line(folder / "cpu.max");
    if (words.size() != 2) return;
    quota = number_of(words[0]);
    period = number_of(words[1]);
  } else {
    quota = read_number(folder / "cpu.cfs_quota_us");
    period = read_number(folder / "cpu.cfs_period_us");
  }
  if (!quota || !period || *quota == 0 || *period == 0) return;
  keep_least<double>(limits.processors, static_cast<double>(*quota) / static_cast<double>(*period));
}

}  // namespace

ControlGroupLimits control_group_limits(const fs::path& root) {
  ControlGroupLimits limits;
  const std::vector<Mount> mounts = read_mounts(root);
  std::ifstream file(root / "proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    // "4:cpu,memory:/group"; version 2 is "0::/group". A group's name may hold colons.
    const size_t first = line.find(':');
    const size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const fs::path group = line.substr(second + 1);
    for (const Mount& mount : mounts) {
      const bool version2 = controllers.empty();
      if (mount.version2 != version2) continue;
      const auto has = [&](std::string_view controller) {
        return version2 ||
               (has_word(controllers, controller) && has_word(mount.options, controller));
      };
      for (const fs::path& folder : folders_of(mount, group)) {
        if (has("memory")) read_memory(folder, version2, limits);
        if (has("cpu")) read_processors(folder, version2, limits);
        if (has("pids")) keep_least(limits.threads, read_number(folder / "pids.max"));
      }
    }
  }
  return limits;
}

}  // namespace intaglio
