#include "run_files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <optional>
#include <tuple>

#include "core/atomic_file.h"

namespace intaglio::cli {
namespace {

namespace fs = std::filesystem;

// What a path means: a file by its device and number; one that is not there by the nearest folder
// above it that is, and the rest of the path.
using Identity = std::tuple<dev_t, ino_t, std::string>;

std::optional<struct stat> status_of(const fs::path& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return std::nullopt;
  return status;
}

fs::path folder_of(const fs::path& file) {
  return file.has_parent_path() ? file.parent_path() : fs::path(".");
}

// Where a write to `path` ends up: symbolic links are followed also where their end is not there
// yet. An error of the system for a name that cannot be.
Expected<fs::path> end_of_links(fs::path path) {
  constexpr int kMaxLinks = 40;
  for (int i = 0; i < kMaxLinks; ++i) {
    struct stat status {};
    if (::lstat(path.c_str(), &status) != 0) {
      if (errno == ENOENT) return path;
      return make_error(ErrorCode::kIo, "{}", std::strerror(errno));
    }
    if (!S_ISLNK(status.st_mode)) return path;
    std::error_code error;
    const fs::path next = fs::read_symlink(path, error);
    if (error) return make_error(ErrorCode::kIo, "{}", error.message());
    path = next.is_absolute() ? next : folder_of(path) / next;
  }
  return make_error(ErrorCode::kIo, "{}", std::strerror(ELOOP));
}

std::optional<Identity> identity_of(const fs::path& file) {
  if (const auto status = status_of(file)) return Identity{status->st_dev, status->st_ino, ""};
  const Expected<fs::path> end = end_of_links(file);
  if (!end) return std::nullopt;
  const fs::path path = end->lexically_normal();
  std::string rest = path.filename().string();
  for (fs::path folder = folder_of(path);; folder = folder_of(folder)) {
    if (const auto status = status_of(folder))
      return Identity{status->st_dev, status->st_ino, rest};
    if (folder == folder_of(folder) || folder == ".") return std::nullopt;
    rest = folder.filename().string() + "/" + rest;
  }
}

std::string lower(std::string text) {
  for (char& c : text)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
  return text;
}

// Whether names in `folder` that differ in case are one file: asked by a file of two names.
bool ignores_case(const fs::path& folder) {
  const fs::path small = folder / fmt::format(".intaglio-case-{}", ::getpid());
  const fs::path large = folder / fmt::format(".INTAGLIO-CASE-{}", ::getpid());
  const int file =
      ::open(small.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (file < 0) return false;
  ::close(file);
  const bool same = status_of(large).has_value();
  ::unlink(small.c_str());
  return same;
}

// Trailing slashes off, "." and ".." resolved: by the system as far as the path is there, behind a
// link ".." is not what the text says.
fs::path plain(const fs::path& folder) {
  const bool climbs = std::find(folder.begin(), folder.end(), "..") != folder.end();
  std::error_code error;
  fs::path path = climbs ? fs::weakly_canonical(folder, error) : folder.lexically_normal();
  if (error) path = folder.lexically_normal();
  return path.has_filename() ? path : path.parent_path();
}

// The part of a path before a ".." must be there: the system climbs out of no folder that is yet to
// be made.
std::optional<fs::path> missing_below_climb(const fs::path& path) {
  fs::path above;
  for (const fs::path& part : path) {
    if (part == ".." && !above.empty() && !status_of(above)) return above;
    above /= part;
  }
  return std::nullopt;
}

Status cannot_write(const std::string& what, const fs::path& file, const std::string& reason) {
  return make_error(ErrorCode::kIo, "{}: cannot write {}: {}", what, file.string(), reason);
}

Status check_folder(const std::string& what, const fs::path& file, const fs::path& folder) {
  const auto status = status_of(folder);
  if (!status) return cannot_write(what, file, "there is no folder " + folder.string());
  if (!S_ISDIR(status->st_mode)) return cannot_write(what, file, folder.string() + " is no folder");
  if (::access(folder.c_str(), W_OK | X_OK) != 0)
    return cannot_write(what, file, "the folder " + folder.string() + " is not writable");
  return {};
}

// Of one output; `made` holds the folders that the run makes.
Status check_output(const std::string& what, const fs::path& file, Overwrite overwrite,
                    const std::set<fs::path>& made) {
  if (file.filename().empty()) return cannot_write(what, file, "is a folder");
  if (const auto missing = missing_below_climb(file))
    return cannot_write(what, file, "there is no folder " + missing->string());
  const Expected<fs::path> end = end_of_links(file);
  if (!end) return cannot_write(what, file, end.error().message);
  if (const auto status = status_of(*end)) {
    if (S_ISDIR(status->st_mode)) return cannot_write(what, file, "is a folder");
    if (S_ISSOCK(status->st_mode)) return cannot_write(what, file, "is a socket");
    if (S_ISBLK(status->st_mode)) return cannot_write(what, file, "is a disk");
    if (overwrite == Overwrite::kRefused && S_ISREG(status->st_mode))
      return cannot_write(what, file, "is there already (--no-overwrite)");
    if (::access(end->c_str(), W_OK) != 0) return cannot_write(what, file, std::strerror(errno));
    if (S_ISCHR(status->st_mode)) {
      const int device = ::open(end->c_str(), O_WRONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
      if (device < 0) return cannot_write(what, file, std::strerror(errno));
      ::close(device);
    }
    if (!S_ISREG(status->st_mode)) return {};  // it is written to, not replaced
  }
  const fs::path folder = folder_of(*end);
  if (made.contains(plain(folder)) && !status_of(folder)) return {};
  return check_folder(what, file, folder);
}

}  // namespace

void RunFiles::reads(const fs::path& file, const std::string& what) {
  inputs_.push_back({file, what});
}
void RunFiles::writes(const fs::path& file, const std::string& what) {
  outputs_.push_back({file, what});
}
void RunFiles::makes(const fs::path& folder) { folders_.push_back(plain(folder)); }

std::vector<Error> RunFiles::problems(Overwrite overwrite) const {
  std::vector<Error> errors;
  const auto note = [&](const Status& status) {
    if (!status) errors.push_back(status.error());
    return status.has_value();
  };
  std::set<fs::path> made;
  for (const fs::path& folder : folders_) {
    made.insert(folder);
    if (const auto status = status_of(folder)) {
      if (!S_ISDIR(status->st_mode)) note(cannot_write("--output", folder, "is no folder"));
      continue;
    }
    fs::path above = folder_of(folder);
    while (!status_of(above) && above != folder_of(above)) above = folder_of(above);
    note(check_folder("--output", folder, above));
  }
  std::map<Identity, std::string> seen;
  for (const Use& input : inputs_)
    if (const auto id = identity_of(input.file)) seen.emplace(*id, input.what + ", an input");
  for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    struct stat status {};
    if (::fstat(stream, &status) == 0 && S_ISREG(status.st_mode)) {
      seen.emplace(Identity{status.st_dev, status.st_ino, ""},
                   stream == STDIN_FILENO    ? "standard input"
                   : stream == STDOUT_FILENO ? "standard output"
                                             : "standard error");
    }
  }
  std::map<Identity, std::string> without_case;
  std::set<fs::path> tried;
  for (const Use& output : outputs_) {
    if (!note(check_output(output.what, output.file, overwrite, made))) continue;
    const auto id = identity_of(output.file);
    if (!id) continue;
    const auto status = status_of(output.file);
    if (status && !S_ISREG(status->st_mode)) continue;  // /dev/null takes any number
    const auto [found, is_new] = seen.emplace(*id, output.what);
    const auto same = [&](const std::string& other) {
      note(make_error(ErrorCode::kInvalidArgument, "{}: {} is the same file as {}", output.what,
                      output.file.string(), other));
    };
    if (!is_new) {
      same(found->second);
      continue;
    }
    Identity folded = *id;
    std::get<std::string>(folded) = lower(std::get<std::string>(folded));
    const auto [like, alone] = without_case.emplace(folded, output.what);
    const fs::path folder = folder_of(output.file);
    if (!alone && !std::get<std::string>(folded).empty() && ignores_case(folder)) {
      same(like->second);
      continue;
    }
    // The system has the last word, once a folder.
    if (status_of(folder) && tried.insert(folder).second) {
      const Expected<AtomicFile> file = AtomicFile::create(output.file);
      if (!file) errors.push_back(file.error());
    }
  }
  return errors;
}

Status RunFiles::make_folders() {
  for (const fs::path& folder : folders_) {
    std::vector<fs::path> missing;
    for (fs::path path = folder; !status_of(path); path = folder_of(path)) missing.push_back(path);
    for (; !missing.empty(); missing.pop_back()) {
      if (::mkdir(missing.back().c_str(), 0777) == 0) {
        made_.push_back(missing.back());
      } else if (errno != EEXIST) {
        return make_error(ErrorCode::kIo, "{}: cannot make the folder: {}", missing.back().string(),
                          std::strerror(errno));
      }
    }
  }
  return {};
}

void RunFiles::remove_folders() {
  for (; !made_.empty(); made_.pop_back()) ::rmdir(made_.back().c_str());
}

Status check_files(const NamedFiles& files) {
  const auto is_file = [](const std::string& name) { return !name.empty() && name != "-"; };
  RunFiles run;
  for (const auto& [flag, file] : files.inputs)
    if (is_file(file)) run.reads(file, flag);
  for (const auto& [flag, file] : files.outputs)
    if (is_file(file)) run.writes(file, flag);
  const std::vector<Error> problems = run.problems(Overwrite::kAllowed);
  if (problems.empty()) return {};
  return tl::unexpected<Error>(problems.front());
}

}  // namespace intaglio::cli
