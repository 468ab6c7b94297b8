// `intaglio inspect --diff A B`: how far the weights of B are from those of A.
#pragma once

#include <filesystem>

#include "core/status.h"

namespace intaglio::cli {

struct DiffFlags {
  std::filesystem::path reference = {}, other = {};  // models, parts or files
  bool all = false;                                  // list every tensor, not the worst alone
  bool json = false;
  int threads = 0;
};

// Reports, or says what is wrong; returns the exit code.
int run_diff(const DiffFlags& flags);

}  // namespace intaglio::cli
