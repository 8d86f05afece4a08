# SPDX-License-Identifier: Apache-2.0
#
# libev ships neither a CMake config nor a pkg-config file.
#
#   Libev::Libev     the library and its headers
find_path(Libev_INCLUDE_DIR NAMES ev.h PATH_SUFFIXES libev)
find_library(Libev_LIBRARY NAMES ev)

if(Libev_INCLUDE_DIR AND EXISTS "${Libev_INCLUDE_DIR}/ev.h")
  file(STRINGS "${Libev_INCLUDE_DIR}/ev.h" _major REGEX "#define EV_VERSION_MAJOR +[0-9]+")
  file(STRINGS "${Libev_INCLUDE_DIR}/ev.h" _minor REGEX "#define EV_VERSION_MINOR +[0-9]+")
  string(REGEX REPLACE ".*EV_VERSION_MAJOR +([0-9]+).*" "\\1" _major "${_major}")
  string(REGEX REPLACE ".*EV_VERSION_MINOR +([0-9]+).*" "\\1" _minor "${_minor}")
  set(Libev_VERSION "${_major}.${_minor}")
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(Libev REQUIRED_VARS Libev_LIBRARY Libev_INCLUDE_DIR VERSION_VAR Libev_VERSION
  REASON_FAILURE_MESSAGE "On Debian: apt install libev-dev")

if(Libev_FOUND AND NOT TARGET Libev::Libev)
  add_library(Libev::Libev UNKNOWN IMPORTED)
  set_target_properties(Libev::Libev PROPERTIES
    IMPORTED_LOCATION "${Libev_LIBRARY}"
    INTERFACE_INCLUDE_DIRECTORIES "${Libev_INCLUDE_DIR}")
endif()
mark_as_advanced(Libev_INCLUDE_DIR Libev_LIBRARY)
