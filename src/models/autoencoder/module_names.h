// What other programs call the modules of an autoencoder.
#pragma once

#include <deque>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "models/autoencoder/decoder.h"
#include "models/parts/weights.h"

namespace intaglio::autoencoder {

// Of a config: the names of Wan 2.1's own files, which count resnets and upsamplers in one list, or
// those of AutoencoderKL's (original_names.h).
class ModuleNames {
 public:
  explicit ModuleNames(const DecoderConfig& config);
  ModuleNames(const ModuleNames&) = delete;
  ModuleNames& operator=(const ModuleNames&) = delete;

  std::span<const ModuleAlias> aliases() const { return aliases_; }
  // Whether a file has a weight of the module, by any of its names.
  bool are_in(const Checkpoint& file, std::string_view module) const;
  // kShapeMismatch if so, as the config says by `key` that there is no such module.
  Status refuse(const Checkpoint& file, std::string_view module, std::string_view key) const;
  // Entries of the list "decoder.upsamples.".
  int64_t upsamples() const { return upsamples_; }

 private:
  void add(std::string module, std::string stored);
  void add_resnet(const std::string& module, const std::string& stored);
  void add_mid_block(const std::string& half);

  std::deque<std::string> strings_;  // which the aliases look at
  std::vector<ModuleAlias> aliases_;
  int64_t upsamples_ = 0;
};

}  // namespace intaglio::autoencoder
