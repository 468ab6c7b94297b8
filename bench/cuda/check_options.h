// The options that the check programs share.
#pragma once

#include <cstdio>
#include <cstring>

namespace intaglio::bench {

struct CheckOptions {
  bool check = true, bench = true, quick = false;
  const char* json = nullptr;
};

// Reads --check-only, --bench-only, --quick, --json FILE. Another argument goes to `own`, which
// says whether it is one of the program's. False, with a word on stderr, for an unknown one.
template <typename Own>
bool read_check_options(int argc, char** argv, CheckOptions& options, Own&& own) {
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--check-only") == 0) {
      options.bench = false;
    } else if (std::strcmp(argv[i], "--bench-only") == 0) {
      options.check = false;
    } else if (std::strcmp(argv[i], "--quick") == 0) {
      options.quick = true;
    } else if (std::strcmp(argv[i], "--json") == 0 && i + 1 < argc) {
      options.json = argv[++i];
    } else if (!own(argv[i])) {
      std::fprintf(stderr, "unknown option %s\n", argv[i]);
      return false;
    }
  }
  return true;
}

inline bool read_check_options(int argc, char** argv, CheckOptions& options) {
  return read_check_options(argc, argv, options, [](const char*) { return false; });
}

}  // namespace intaglio::bench
