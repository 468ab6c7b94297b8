# Writes a C++ source that holds text files as string literals:
#   cmake -DFILES="a.json;b.json" -DOUT=tuning_data.cpp -DHEADER=ops/tuning_data.h -DNAMESPACE=intaglio -DFUNCTION=files -P embed_text.cmake
# The header declares `std::span<const EmbeddedFile> NAMESPACE::FUNCTION()`.
# A script of CMake, so that a build needs neither Python nor a generated file in the repository: the JSON stays the only copy.
set(rows "")
foreach(file IN LISTS FILES)
  file(READ "${file}" text)
  get_filename_component(name "${file}" NAME)
  string(FIND "${text}" ")text\"" clash)
  if(NOT clash EQUAL -1)
    message(FATAL_ERROR "${file}: holds the end of a raw string literal")
  endif()
  string(APPEND rows "    {\"${name}\", R\"text(${text})text\"},\n")
endforeach()
file(WRITE "${OUT}.new" "// Made by cmake/embed_text.cmake; do not edit.
#include \"${HEADER}\"

namespace ${NAMESPACE} {

std::span<const EmbeddedFile> ${FUNCTION}() {
  static constexpr EmbeddedFile kFiles[] = {
${rows}  };
  return kFiles;
}

}  // namespace ${NAMESPACE}
")
file(RENAME "${OUT}.new" "${OUT}")
