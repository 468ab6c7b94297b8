# What src/CMakeLists.txt says of a floor.

# intaglio_floor(NAME BELOW floors SOURCES globs CUDA_SOURCES globs LINK libraries): a floor of the engine, a static library of its own that links the floors
# below it. CUDA_SOURCES are taken in only where the build has CUDA. A new file needs no edit here: CONFIGURE_DEPENDS looks again at each build.
function(intaglio_floor name)
  cmake_parse_arguments(PARSE_ARGV 1 floor "" "" "BELOW;SOURCES;CUDA_SOURCES;LINK")
  file(GLOB sources CONFIGURE_DEPENDS ${floor_SOURCES})
  if(INTAGLIO_WITH_CUDA AND floor_CUDA_SOURCES)
    file(GLOB cuda_sources CONFIGURE_DEPENDS ${floor_CUDA_SOURCES})
    list(APPEND sources ${cuda_sources})
  endif()
  add_library(intaglio_${name} STATIC ${sources})
  # Part of the shared library, which shows nothing of it.
  set_target_properties(intaglio_${name} PROPERTIES POSITION_INDEPENDENT_CODE ON CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON)
  target_include_directories(intaglio_${name} PUBLIC ${PROJECT_SOURCE_DIR}/src)
  list(TRANSFORM floor_BELOW PREPEND intaglio_)
  target_link_libraries(intaglio_${name} PUBLIC intaglio_options ${floor_BELOW} PRIVATE ${floor_LINK})
  set_property(GLOBAL APPEND PROPERTY INTAGLIO_FLOORS ${name})
endfunction()

# intaglio_isa_folder(FOLDER flags): kernels of one instruction set in ops/cpu, compiled with its flags and chosen at run time.
function(intaglio_isa_folder folder)
  file(GLOB sources CONFIGURE_DEPENDS ops/cpu/${folder}/*.cpp)
  set_source_files_properties(${sources} PROPERTIES COMPILE_OPTIONS "${ARGN}")
  target_sources(intaglio_ops PRIVATE ${sources})
endfunction()

# intaglio_embed(FLOOR FOLDER HEADER NAMESPACE FUNCTION): the folder's JSON, which stays JSON in the tree, as string literals in the binary.
function(intaglio_embed floor folder header namespace function)
  file(GLOB files CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${folder}/*.json)
  set(source ${PROJECT_BINARY_DIR}/generated/${function}.cpp)
  set(script ${PROJECT_SOURCE_DIR}/cmake/embed_text.cmake)
  add_custom_command(OUTPUT ${source}
    COMMAND ${CMAKE_COMMAND} "-DFILES=${files}" -DOUT=${source} -DHEADER=${header} -DNAMESPACE=${namespace} -DFUNCTION=${function} -P ${script}
    DEPENDS ${files} ${script} VERBATIM)
  target_sources(intaglio_${floor} PRIVATE ${source})
endfunction()
