// A text file of the source tree that is part of the binary: see cmake/embed_text.cmake.
#pragma once

#include <string_view>

namespace intaglio {

struct EmbeddedFile {
  std::string_view name;  // without its folder, "presets.json"
  std::string_view text;
};

}  // namespace intaglio
