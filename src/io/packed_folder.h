// The folder of a cache of packed weights: files "<32 hexadecimal digits>.packed", of which the one
// not used for longest goes first. Several processes may work on it at once.
#pragma once

#include <cstdint>
#include <ctime>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"
#include "io/packed_file.h"

namespace intaglio {

struct PackedEntry {
  std::filesystem::path file;
  uint64_t bytes = 0;
  std::time_t last_used = 0;
  bool in_use = false;                       // by a process, this one included
  std::map<std::string, std::string> about;  // of a whole file
  std::string problem;                       // what is wrong with another

  std::string name() const { return file.stem().string(); }
};

std::filesystem::path packed_path(const std::filesystem::path& folder, std::string_view key);
// Of the hash of weights, a few bytes: "<32 hexadecimal digits>.hash" (models/hash_cache.h).
std::filesystem::path hash_path(const std::filesystem::path& folder, std::string_view key);
void remove_hashes(const std::filesystem::path& folder);

// Last used first. A folder that is not there holds nothing; kIo.
Expected<std::vector<PackedEntry>> list_packed(const std::filesystem::path& folder);

// Whether it has been removed: a file in use stays. kIo.
Expected<bool> remove_packed(const std::filesystem::path& file);

// Makes the file appear, after files that have not been used for longest have made room for it
// within `limit` bytes. kOutOfMemory if it is larger itself, or if what is in use leaves too
// little; nothing is removed then.
Status commit_packed(const std::filesystem::path& folder, uint64_t limit, PackedFileWriter& writer);

// kOutOfMemory if the file system of the folder, which is made, has not that many bytes free and a
// tenth of its size.
Status check_disk(const std::filesystem::path& folder, uint64_t bytes);

}  // namespace intaglio
