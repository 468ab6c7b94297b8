// The files that a run reads and writes, checked before any work: no output may replace an input or
// another output, however its path is spelled.
#pragma once

#include <filesystem>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "core/status.h"

namespace intaglio::cli {

enum class Overwrite { kAllowed, kRefused };

class RunFiles {
 public:
  // `what` names a file in messages, e.g. "--noise" or "a file of the model".
  void reads(const std::filesystem::path& file, const std::string& what);
  void writes(const std::filesystem::path& file, const std::string& what);
  // A folder that the run makes if it is not there.
  void makes(const std::filesystem::path& folder);

  // Every problem of the outputs: names that are too long, folders that are missing, not writable
  // or in the way, sockets and disks, files that are there (kRefused), the same file twice, inputs.
  // stdin and stdout count where they are files.
  std::vector<Error> problems(Overwrite overwrite) const;

  // Makes the folders of makes(). Those that were not there are removed again by remove_folders
  // unless something is in them.
  Status make_folders();
  void remove_folders();

 private:
  struct Use {
    std::filesystem::path file;
    std::string what;
  };
  std::vector<Use> inputs_, outputs_;
  std::vector<std::filesystem::path> folders_, made_;
};

// Files by the flags that name them; an empty name and "-" are none.
struct NamedFiles {
  std::vector<std::pair<std::string, std::string>> outputs, inputs;  // flag, file
};
// The first problem of RunFiles::problems.
Status check_files(const NamedFiles& files);

}  // namespace intaglio::cli
