# Options, and how sources are compiled. What belongs to a whole build (its type, its folders, a compiler cache) is set only where this tree is the whole build:
# a project that takes it in by add_subdirectory keeps its own.
option(INTAGLIO_BUILD_PROGRAM "Build the program beside the library" ${PROJECT_IS_TOP_LEVEL})
option(INTAGLIO_BUILD_TESTS "Build the tests" ${PROJECT_IS_TOP_LEVEL})
option(INTAGLIO_BUILD_FUZZ "Build the libFuzzer targets (needs clang)" OFF)
option(INTAGLIO_BUILD_BENCH "Build the benchmarks" OFF)
option(INTAGLIO_INSTALL "Install what is built" ${PROJECT_IS_TOP_LEVEL})
option(INTAGLIO_USE_OPENMP "Let oneDNN follow the thread count in benchmarks (the engine has its own threads)" ON)
option(INTAGLIO_USE_ONEDNN "Compare with oneDNN in benchmarks; no picture needs it" ON)
set(INTAGLIO_CUDA "AUTO" CACHE STRING "CUDA kernels: AUTO (where nvcc and a GPU are), ON, OFF")
set(INTAGLIO_CUDA_ARCHITECTURES "" CACHE STRING "Architectures to compile for, e.g. 86-real, or all; empty: this machine's GPU, or all where there is none")
option(INTAGLIO_TEST_DEVICE_DOUBLE "Build the tests of the GPU's host code on a made-up device" ON)
option(INTAGLIO_TEST_FAILURES "Test every call that can fail, and the program within limits" ON)
set(INTAGLIO_SANITIZE "" CACHE STRING "Sanitizers to build with, e.g. address,undefined")

# The program needs all of the engine; tests and benchmarks need the program's parts.
if((INTAGLIO_BUILD_TESTS OR INTAGLIO_BUILD_BENCH) AND NOT INTAGLIO_BUILD_PROGRAM)
  set(INTAGLIO_BUILD_PROGRAM ON)
endif()

if(PROJECT_IS_TOP_LEVEL)
  # SPDX-License-Identifier: Apache-2.0; packages made with CPack carry the text.
  set(CPACK_RESOURCE_FILE_LICENSE ${PROJECT_SOURCE_DIR}/LICENSE)
  if(NOT CMAKE_BUILD_TYPE)
    set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
  endif()
  set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
  set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/bin)
  find_program(CCACHE ccache)
  if(CCACHE)
    # Clones of this tree share what they compiled, wherever they lie; sloppiness is what it asks for where headers are precompiled.
    set(CCACHE_LAUNCHER ${CMAKE_COMMAND} -E env CCACHE_BASEDIR=${PROJECT_SOURCE_DIR} CCACHE_NOHASHDIR=1
      CCACHE_SLOPPINESS=pch_defines,time_macros ${CCACHE})
    set(CMAKE_CXX_COMPILER_LAUNCHER ${CCACHE_LAUNCHER})
    set(CMAKE_CUDA_COMPILER_LAUNCHER ${CCACHE_LAUNCHER})
  endif()
endif()

# Of this folder and those below it.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)

add_library(intaglio_options INTERFACE)
target_compile_options(intaglio_options INTERFACE "$<$<COMPILE_LANGUAGE:CXX>:-Wall;-Wextra;-Wpedantic;-Wno-unused-parameter;-ffp-contract=off>")
if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
  target_compile_options(intaglio_options INTERFACE -Wno-unknown-pragmas)  # GCC's ivdep
endif()
if(INTAGLIO_SANITIZE)
  target_compile_options(intaglio_options INTERFACE -fsanitize=${INTAGLIO_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer -g)
  target_link_options(intaglio_options INTERFACE -fsanitize=${INTAGLIO_SANITIZE})
endif()
