// Where the source tree lies whose files a test reads: reference tensors, bundled model, stored
// results.
#pragma once

#include <string>

namespace intaglio::test {

// `path` is relative to the root of the repository, e.g. "tests/reference/data".
std::string source_path(const std::string& path);

}  // namespace intaglio::test
