// Files that are part of the binary: the page and the description of the API.
#pragma once

#include <span>

#include "core/embedded_file.h"

namespace intaglio::server {

std::span<const EmbeddedFile> page_files();  // names such as "index.html", "assets/app-1a2b.js"
std::span<const EmbeddedFile> api_files();   // "openapi.json"

}  // namespace intaglio::server
