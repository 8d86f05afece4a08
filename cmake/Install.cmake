# SPDX-License-Identifier: Apache-2.0
#
# What an installed loopscope consists of: three libraries with their headers, the command and its probe, CMake and pkg-config files.
include(CMakePackageConfigHelpers)

install(TARGETS loopscope_loop loopscope_inspector
  EXPORT loopscope-targets
  LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}"
  ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}")
if(TARGET loopscope_testing)
  install(TARGETS loopscope_testing
    EXPORT loopscope-targets
    LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}"
    ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}")
  install(DIRECTORY testing/include/ DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}" FILES_MATCHING PATTERN "*.h")
endif()
install(FILES testing/python/loopscope_pytest.py testing/node/loopscope-fds.cjs
  DESTINATION "${CMAKE_INSTALL_DATADIR}/loopscope/testing")
install(DIRECTORY loop/include/ webui/server/include/ DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}" FILES_MATCHING PATTERN "*.h")
install(TARGETS loopscope_probe LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}/loopscope")
install(FILES instrumentation/probe/node/node-lines.cjs DESTINATION "${CMAKE_INSTALL_LIBDIR}/loopscope")
if(TARGET loopscope_cli)
  install(TARGETS loopscope_cli RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}")
  install(TARGETS loopscope_push LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}/loopscope")
endif()

set(config_dir "${CMAKE_INSTALL_LIBDIR}/cmake/loopscope")
install(EXPORT loopscope-targets NAMESPACE loopscope:: DESTINATION "${config_dir}")
configure_package_config_file(cmake/loopscope-config.cmake.in "${CMAKE_CURRENT_BINARY_DIR}/loopscope-config.cmake"
  INSTALL_DESTINATION "${config_dir}" PATH_VARS CMAKE_INSTALL_BINDIR)
write_basic_package_version_file("${CMAKE_CURRENT_BINARY_DIR}/loopscope-config-version.cmake" COMPATIBILITY SameMinorVersion)
install(FILES
  "${CMAKE_CURRENT_BINARY_DIR}/loopscope-config.cmake"
  "${CMAKE_CURRENT_BINARY_DIR}/loopscope-config-version.cmake"
  cmake/FindLibev.cmake
  cmake/LoopscopeCheckFds.cmake
  cmake/LoopscopeWrapTests.cmake
  DESTINATION "${config_dir}")

# A static library's own needs are Libs.private (pkg-config --static), a shared one brings them itself.
if(BUILD_SHARED_LIBS)
  set(LOOPSCOPE_PC_STATIC "")
  set(LOOPSCOPE_PC_TESTING "")
else()
  set(LOOPSCOPE_PC_STATIC " -lstdc++")
  set(LOOPSCOPE_PC_TESTING " -ldw -lelf")
endif()
set(pc_components loopscope loopscope-inspector)
if(TARGET loopscope_testing)
  list(APPEND pc_components loopscope-testing)
endif()
foreach(component IN LISTS pc_components)
  configure_file(cmake/${component}.pc.in "${CMAKE_CURRENT_BINARY_DIR}/${component}.pc" @ONLY)
  install(FILES "${CMAKE_CURRENT_BINARY_DIR}/${component}.pc" DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig")
endforeach()
