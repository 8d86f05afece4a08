# SPDX-License-Identifier: Apache-2.0
#
# What an installed loopscope consists of: two libraries with their headers, the command and its probe, CMake and pkg-config files.
include(CMakePackageConfigHelpers)

install(TARGETS loopscope_loop loopscope_inspector
  EXPORT loopscope-targets
  LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}"
  ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}")
install(DIRECTORY loop/include/ webui/server/include/ DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}" FILES_MATCHING PATTERN "*.h")
install(TARGETS loopscope_probe LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}/loopscope")
if(TARGET loopscope_cli)
  install(TARGETS loopscope_cli RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}")
endif()

set(config_dir "${CMAKE_INSTALL_LIBDIR}/cmake/loopscope")
install(EXPORT loopscope-targets NAMESPACE loopscope:: DESTINATION "${config_dir}")
configure_package_config_file(cmake/loopscope-config.cmake.in "${CMAKE_CURRENT_BINARY_DIR}/loopscope-config.cmake"
  INSTALL_DESTINATION "${config_dir}")
write_basic_package_version_file("${CMAKE_CURRENT_BINARY_DIR}/loopscope-config-version.cmake" COMPATIBILITY SameMinorVersion)
install(FILES
  "${CMAKE_CURRENT_BINARY_DIR}/loopscope-config.cmake"
  "${CMAKE_CURRENT_BINARY_DIR}/loopscope-config-version.cmake"
  cmake/FindLibev.cmake
  DESTINATION "${config_dir}")

# A static library's own needs are Libs.private (pkg-config --static), a shared one brings them itself.
if(BUILD_SHARED_LIBS)
  set(LOOPSCOPE_PC_STATIC "")
else()
  set(LOOPSCOPE_PC_STATIC " -lstdc++")
endif()
foreach(component loopscope loopscope-inspector)
  configure_file(cmake/${component}.pc.in "${CMAKE_CURRENT_BINARY_DIR}/${component}.pc" @ONLY)
  install(FILES "${CMAKE_CURRENT_BINARY_DIR}/${component}.pc" DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig")
endforeach()
