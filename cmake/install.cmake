# cmake --install: the program, the shared library with its headers, a pkg-config file and a CMake package, and the bundled model. All of it may be moved.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

if(TARGET intaglio)
  install(TARGETS intaglio RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
  # The program looks for it beside itself: ../share/intaglio/models/mini.
  install(DIRECTORY ${PROJECT_SOURCE_DIR}/models/mini DESTINATION ${CMAKE_INSTALL_DATADIR}/intaglio/models)
endif()
install(TARGETS intaglio_shared EXPORT intaglio LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(FILES ${PROJECT_SOURCE_DIR}/include/intaglio/intaglio.h ${PROJECT_SOURCE_DIR}/include/intaglio/intaglio.hpp
  DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/intaglio)
# Libraries whose headers are compiled in ask that their notices go along.
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE ${PROJECT_SOURCE_DIR}/NOTICE ${PROJECT_SOURCE_DIR}/THIRD_PARTY_NOTICES.md DESTINATION ${CMAKE_INSTALL_DOCDIR})

set(package_folder ${CMAKE_INSTALL_LIBDIR}/cmake/intaglio)
install(EXPORT intaglio NAMESPACE intaglio:: FILE intaglio-config.cmake DESTINATION ${package_folder})
# Until 1.0 every minor version may change the interface.
write_basic_package_version_file(${PROJECT_BINARY_DIR}/generated/intaglio-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/generated/intaglio-config-version.cmake DESTINATION ${package_folder})

set(pkg_config_folder ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
file(RELATIVE_PATH INTAGLIO_PREFIX ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
configure_file(cmake/intaglio.pc.in generated/intaglio.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/generated/intaglio.pc DESTINATION ${pkg_config_folder})
