#include "support/source_folder.h"

namespace intaglio::test {

std::string source_path(const std::string& path) { return INTAGLIO_SOURCE_DIR "/" + path; }

}  // namespace intaglio::test
