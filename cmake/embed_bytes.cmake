# Writes a C++ source that holds files of any kind:
#   cmake -DFOLDER=web/dist "-DFILES=index.html;assets/a.js" -DOUT=page_files.cpp -DHEADER=server/embedded.h -DNAMESPACE=intaglio::server -DFUNCTION=page_files -P embed_bytes.cmake
# The header declares `std::span<const EmbeddedFile> NAMESPACE::FUNCTION()`; names are those of FILES.
set(arrays "")
set(rows "")
set(number 0)
foreach(file IN LISTS FILES)
  file(READ "${FOLDER}/${file}" bytes HEX)
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "'\\\\x\\1'," bytes "${bytes}")
  string(APPEND arrays "constexpr char kFile${number}[] = {${bytes}'\\0'};\n")
  string(APPEND rows "    {\"${file}\", std::string_view(kFile${number}, sizeof(kFile${number}) - 1)},\n")
  math(EXPR number "${number} + 1")
endforeach()
file(WRITE "${OUT}.new" "// Made by cmake/embed_bytes.cmake; do not edit.
#include \"${HEADER}\"

namespace ${NAMESPACE} {
namespace {
${arrays}}  // namespace

std::span<const EmbeddedFile> ${FUNCTION}() {
  static constexpr EmbeddedFile kFiles[] = {
${rows}  };
  return kFiles;
}

}  // namespace ${NAMESPACE}
")
file(RENAME "${OUT}.new" "${OUT}")
