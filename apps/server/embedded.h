// Files that are part of the binary: the page, the description of the API, the scripts of the
// queue.
#pragma once

#include <span>

#include "core/embedded_file.h"

namespace intaglio::server {

std::span<const EmbeddedFile> page_files();     // names such as "index.html", "assets/app-1a2b.js"
std::span<const EmbeddedFile> api_files();      // "openapi.json"
std::span<const EmbeddedFile> redis_scripts();  // "submit.lua" and others

}  // namespace intaglio::server
