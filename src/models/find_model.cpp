#include "models/find_model.h"

#include <fmt/ranges.h>

#include <cstdlib>
#include <vector>

#include "io/checkpoint.h"
#include "io/hub_cache.h"
#include "io/printable.h"

namespace intaglio {
namespace {

namespace fs = std::filesystem;

constexpr size_t kShown = 200;  // bytes of a name

bool is_there(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

Expected<fs::path> find_bundled() {
  std::error_code ignored;
  std::vector<std::string> tried;
  const auto is_model = [&](const fs::path& folder) {
    tried.push_back(folder.string());
    return is_there(folder / "model_index.json");
  };
  if (const char* root = std::getenv("INTAGLIO_MODELS"); root != nullptr && *root != '\0') {
    if (const fs::path folder = fs::path(root) / "mini"; is_model(folder)) return folder;
  }
  const fs::path executable = fs::read_symlink("/proc/self/exe", ignored);
  if (!executable.empty()) {
    const fs::path bin = executable.parent_path();
    if (const fs::path folder = (bin / "../share/intaglio/models/mini").lexically_normal();
        is_model(folder))
      return folder;
    for (fs::path folder = bin; folder.has_relative_path(); folder = folder.parent_path()) {
      if (is_model(folder / "models/mini")) return folder / "models/mini";
    }
  }
  return make_error(ErrorCode::kNotFound, "the bundled model \"mini\" was not found; looked in {}",
                    fmt::join(tried, ", "));
}

Expected<fs::path> find_on_disk(std::string_view what, const std::string& argument,
                                std::string_view otherwise) {
  if (is_there(argument)) return fs::path(argument);
  if (is_hub_name(argument)) {
    Expected<fs::path> cached = find_in_hub_cache(argument);
    if (cached) return cached;
    return make_error(cached.error().code, "{} {}: no such folder, and {}", what,
                      printable(argument, kShown), cached.error().message);
  }
  return make_error(ErrorCode::kNotFound, "{} {}: no such folder{}", what,
                    printable(argument, kShown), otherwise);
}

}  // namespace

Expected<fs::path> find_model_part(std::string_view what, const std::string& argument) {
  return find_on_disk(what, argument, " or file");
}

Expected<fs::path> find_model_folder(std::string_view what, const std::string& argument,
                                     std::string_view advice) {
  if (argument == "mini") return find_bundled();
  INTAGLIO_ASSIGN(const fs::path folder, find_on_disk(what, argument, advice));
  if (is_there(folder / "model_index.json")) return folder;
  std::error_code ignored;
  if (!fs::is_directory(folder, ignored))
    return make_error(ErrorCode::kNotFound,
                      "{} {}: is a file; expected a folder of the diffusers layout (parts of a "
                      "model, its transformer or VAE, have options of their own)",
                      what, printable(argument, kShown));
  return make_error(ErrorCode::kNotFound,
                    "{} {}: no model_index.json in it; expected a folder of the diffusers layout; "
                    "there is {}",
                    what, printable(argument, kShown), folder_contents(folder));
}

}  // namespace intaglio
