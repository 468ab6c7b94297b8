# cmake --install: the program, the shared library with its headers, a pkg-config file and a CMake package, and the bundled model. All of it may be moved.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

if(TARGET intaglio)
  install(TARGETS intaglio RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT runtime)
  # The program looks for it beside itself: ../share/intaglio/models/mini.
  install(DIRECTORY ${PROJECT_SOURCE_DIR}/models/mini DESTINATION ${CMAKE_INSTALL_DATADIR}/intaglio/models COMPONENT runtime)
  install(DIRECTORY ${PROJECT_SOURCE_DIR}/apps/intaglio/schemas DESTINATION ${CMAKE_INSTALL_DATADIR}/intaglio COMPONENT runtime)
  # The program itself writes its man pages and completions.
  set(shell_folder ${PROJECT_BINARY_DIR}/generated/shell)
  add_custom_command(OUTPUT ${shell_folder}/made DEPENDS intaglio
    COMMAND ${CMAKE_COMMAND} -E rm -rf ${shell_folder}
    COMMAND intaglio manual ${shell_folder}/man1
    COMMAND gzip -9n -r ${shell_folder}/man1
    COMMAND intaglio completion bash > ${shell_folder}/intaglio.bash
    COMMAND intaglio completion zsh > ${shell_folder}/_intaglio
    COMMAND intaglio completion fish > ${shell_folder}/intaglio.fish
    COMMAND ${CMAKE_COMMAND} -E touch ${shell_folder}/made
    COMMENT "Man pages and completions" VERBATIM)
  add_custom_target(intaglio_manual ALL DEPENDS ${shell_folder}/made)
  install(DIRECTORY ${shell_folder}/man1 DESTINATION ${CMAKE_INSTALL_MANDIR} COMPONENT runtime)
  install(FILES ${shell_folder}/intaglio.bash DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions RENAME intaglio COMPONENT runtime)
  install(FILES ${shell_folder}/_intaglio DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/site-functions COMPONENT runtime)
  install(FILES ${shell_folder}/intaglio.fish DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d COMPONENT runtime)
  if(INTAGLIO_BUILD_SERVER)
    install(FILES ${PROJECT_SOURCE_DIR}/packaging/intaglio.service ${PROJECT_SOURCE_DIR}/packaging/intaglio-worker@.service DESTINATION lib/systemd/system COMPONENT runtime)
  endif()
endif()
install(TARGETS intaglio_shared EXPORT intaglio LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT runtime NAMELINK_COMPONENT development
  INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(FILES ${PROJECT_SOURCE_DIR}/include/intaglio/intaglio.h ${PROJECT_SOURCE_DIR}/include/intaglio/intaglio.hpp
  DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/intaglio COMPONENT development)
# Libraries whose headers are compiled in ask that their notices go along.
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE ${PROJECT_SOURCE_DIR}/NOTICE ${PROJECT_SOURCE_DIR}/THIRD_PARTY_NOTICES.md DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT runtime)

set(package_folder ${CMAKE_INSTALL_LIBDIR}/cmake/intaglio)
install(EXPORT intaglio NAMESPACE intaglio:: FILE intaglio-config.cmake DESTINATION ${package_folder} COMPONENT development)
# Until 1.0 every minor version may change the interface.
write_basic_package_version_file(${PROJECT_BINARY_DIR}/generated/intaglio-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/generated/intaglio-config-version.cmake DESTINATION ${package_folder} COMPONENT development)

set(pkg_config_folder ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
file(RELATIVE_PATH INTAGLIO_PREFIX ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
configure_file(cmake/intaglio.pc.in generated/intaglio.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/generated/intaglio.pc DESTINATION ${pkg_config_folder} COMPONENT development)
