// The files of src/models/ideogram4/data/, compiled into the binary by cmake/embed_text.cmake.
#pragma once

#include <span>

#include "core/embedded_file.h"

namespace intaglio::ideogram4 {

std::span<const EmbeddedFile> data_files();

}  // namespace intaglio::ideogram4
