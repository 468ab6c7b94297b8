// The template of the report, compiled into the binary by cmake/embed_text.cmake.
#pragma once

#include <span>

#include "core/embedded_file.h"

namespace intaglio::cli {

// "report.html", with RESULT_JSON where the result goes.
std::span<const EmbeddedFile> report_page_files();

}  // namespace intaglio::cli
