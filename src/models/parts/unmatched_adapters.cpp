#include "models/parts/unmatched_adapters.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "io/printable.h"

namespace intaglio {
namespace {

// Names of an adapter's tensors, for messages.
std::vector<std::string> unmatched_tensors(const AdapterUse& use,
                                           const std::set<const TensorEntry*>& matched) {
  std::vector<std::string> names;
  for (const TensorEntry& entry : use.file->file().tensors())
    if (!matched.contains(&entry)) names.push_back(printable(entry.name));
  return names;
}

std::string first_of(const std::vector<std::string>& names) {
  constexpr size_t kMost = 10;
  const size_t shown = std::min(kMost, names.size());
  const auto end = names.begin() + static_cast<std::ptrdiff_t>(shown);
  const std::string list = fmt::format("{}", fmt::join(names.begin(), end, ", "));
  return shown == names.size() ? list : fmt::format("{} and {} more", list, names.size() - shown);
}

}  // namespace

Expected<std::vector<std::string>> unmatched_adapters(std::span<const AdapterUse> adapters,
                                                      const std::set<const TensorEntry*>& matched,
                                                      std::string_view model) {
  std::vector<std::string> warnings;
  for (const AdapterUse& use : adapters) {
    const std::vector<std::string> others = unmatched_tensors(use, matched);
    const std::string file = use.file->path().string();
    if (others.size() == use.file->file().tensors().size()) {
      const std::string other = use.file->seems_for();
      return make_error(ErrorCode::kShapeMismatch,
                        "{}: none of its {} tensors is of a module of {}{}{}", file, others.size(),
                        model, other.empty() ? "" : "; it seems to be for " + other,
                        OwnLines{others.empty() ? "" : "; such as " + first_of(others)});
    }
    if (!others.empty()) {
      warnings.push_back(
          message_of("{}: {} of its {} tensors are of no module of {} and change "
                     "nothing: {}",
                     file, others.size(), use.file->file().tensors().size(), model,
                     OwnLines{first_of(others)}));
    }
  }
  return warnings;
}

}  // namespace intaglio
