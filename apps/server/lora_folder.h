// Adapters by name, out of one folder.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "core/status.h"

namespace intaglio::server {

class LoraFolder {
 public:
  // Empty: there are none. It may come, go and change while the server runs.
  explicit LoraFolder(std::filesystem::path folder) : folder_(std::move(folder)) {}

  // Of every *.safetensors in it (not below it), without the extension, sorted. Links that lead out
  // of the folder count as not there.
  std::vector<std::string> names() const;
  // kNotFound unless names() has it.
  Expected<std::filesystem::path> file(const std::string& name) const;

 private:
  bool holds(const std::filesystem::path& file) const;

  std::filesystem::path folder_;
};

}  // namespace intaglio::server
