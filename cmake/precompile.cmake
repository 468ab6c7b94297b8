# Headers of other projects that nearly every source of the tests includes, parsed once a target: a third of what such a source takes to compile. The engine's own
# floors have none, so that each of their files stands by what it includes itself; nor has the program, whose objects the compiler cache shares among builds with
# CUDA and without, but where sanitizers make it one of its own.
option(INTAGLIO_PRECOMPILE "Parse the headers of libraries once for the tests" ${PROJECT_IS_TOP_LEVEL})

# intaglio_precompile(TARGET headers): these and the standard library's.
function(intaglio_precompile target)
  if(NOT INTAGLIO_PRECOMPILE)
    return()
  endif()
  target_precompile_headers(${target} PRIVATE ${ARGN} <fmt/format.h> <fmt/ranges.h> <nlohmann/json.hpp> <tl/expected.hpp>
    <algorithm> <chrono> <filesystem> <fstream> <functional> <map> <memory> <mutex> <optional> <set> <sstream> <string> <thread> <vector>)
  if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
    # The compiler cache knows the headers by what they hold, not by their date.
    target_compile_options(${target} PRIVATE "SHELL:-Xclang -fno-pch-timestamp")
  endif()
endfunction()
