#include "io/hub_cache.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>

#include "core/files.h"
#include "io/printable.h"

namespace intaglio {
namespace {

namespace fs = std::filesystem;

bool is_word(std::string_view text) {
  return !text.empty() && text.front() != '.' && text.front() != '-' &&
         std::all_of(text.begin(), text.end(), [](char c) {
           return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '.' || c == '_' ||
                  c == '-';
         });
}

struct HubName {
  std::string owner, name, revision;
};

HubName split(std::string_view text) {
  const size_t at = text.find('@');
  const std::string_view repository = text.substr(0, at);
  const size_t slash = repository.find('/');
  if (slash == std::string_view::npos) return {};
  return {std::string(repository.substr(0, slash)), std::string(repository.substr(slash + 1)),
          at == std::string_view::npos ? "" : std::string(text.substr(at + 1))};
}

// The commit that refs/<revision> names; empty without such a file.
std::string commit_of(const fs::path& repository, const std::string& revision) {
  constexpr size_t kMostBytes = 256;
  const Expected<std::string> text = read_file(repository / "refs" / revision, kMostBytes);
  if (!text) return {};
  std::string commit = *text;
  while (!commit.empty() && std::isspace(static_cast<unsigned char>(commit.back())) != 0)
    commit.pop_back();
  return is_word(commit) ? commit : std::string();
}

std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(folder, ignored))
    names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

// The snapshot of `repository`; empty if it has none of that revision.
fs::path snapshot(const fs::path& repository, const std::string& revision) {
  const std::vector<std::string> snapshots = names_in(repository / "snapshots");
  const auto has = [&](const std::string& name) {
    return std::find(snapshots.begin(), snapshots.end(), name) != snapshots.end();
  };
  const std::string commit = commit_of(repository, revision.empty() ? "main" : revision);
  if (has(commit)) return repository / "snapshots" / commit;
  if (has(revision)) return repository / "snapshots" / revision;
  if (revision.empty())
    return snapshots.size() == 1 ? repository / "snapshots" / snapshots.front() : fs::path();
  // A commit may be cut short.
  constexpr size_t kLeastLetters = 6;
  std::vector<std::string> matches;
  for (const std::string& name : snapshots)
    if (revision.size() >= kLeastLetters && name.starts_with(revision)) matches.push_back(name);
  return matches.size() == 1 ? repository / "snapshots" / matches.front() : fs::path();
}

}  // namespace

bool is_hub_name(std::string_view text) {
  const HubName name = split(text);
  const bool has_revision = text.find('@') != std::string_view::npos;
  const bool revision_fits =
      !has_revision ||
      (!name.revision.empty() && name.revision.find("..") == std::string::npos &&
       name.revision.front() != '/' && name.revision.find('\0') == std::string::npos);
  const bool is_file = name.name.ends_with(".safetensors") || name.name.ends_with(".gguf");
  return is_word(name.owner) && is_word(name.name) && revision_fits && !is_file;
}

std::vector<fs::path> hub_caches() {
  std::vector<fs::path> caches;
  const auto add = [&](const char* variable, const fs::path& below) {
    const char* const value = std::getenv(variable);
    if (value == nullptr || *value == '\0') return;
    const fs::path cache = below.empty() ? fs::path(value) : fs::path(value) / below;
    if (std::find(caches.begin(), caches.end(), cache) == caches.end()) caches.push_back(cache);
  };
  add("HF_HUB_CACHE", "");
  add("HUGGINGFACE_HUB_CACHE", "");
  add("HF_HOME", "hub");
  add("XDG_CACHE_HOME", "huggingface/hub");
  add("HOME", ".cache/huggingface/hub");
  return caches;
}

Expected<fs::path> find_in_hub_cache(std::string_view text) {
  const HubName name = split(text);
  const std::string folder = fmt::format("models--{}--{}", name.owner, name.name);
  std::vector<std::string> looked;
  std::string there;
  for (const fs::path& cache : hub_caches()) {
    looked.push_back((cache / folder).string());
    const fs::path found = snapshot(cache / folder, name.revision);
    if (!found.empty()) return found;
    const std::vector<std::string> refs = names_in(cache / folder / "refs");
    const std::vector<std::string> snapshots = names_in(cache / folder / "snapshots");
    if (there.empty() && !snapshots.empty())
      there = fmt::format(
          "; of other revisions there are {}",
          printable(fmt::format("{}", fmt::join(refs.empty() ? snapshots : refs, ", ")), 200));
  }
  return make_error(
      ErrorCode::kNotFound,
      "{} is not in the Hugging Face cache; looked in {}{}; `hf download {}/{}{}` "
      "puts it there",
      printable(text, 200),
      looked.empty() ? "no folder (HOME is not set)" : fmt::format("{}", fmt::join(looked, ", ")),
      there, name.owner, name.name,
      name.revision.empty() ? "" : " --revision " + printable(name.revision, 100));
}

}  // namespace intaglio
