#include "support/source_folder.h"

#include <cstdlib>

namespace intaglio::test {

std::string source_path(const std::string& path) {
  // Tests that were carried to another machine find the tree there.
  const char* const elsewhere = std::getenv("INTAGLIO_SOURCE_DIR");
  return std::string(elsewhere != nullptr ? elsewhere : INTAGLIO_SOURCE_DIR) + "/" + path;
}

}  // namespace intaglio::test
