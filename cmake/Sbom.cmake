# SPDX-License-Identifier: Apache-2.0
#
# loopscope.spdx.json: what loopscope consists of and stands on (sbom.py), made with the rest and installed beside the licence.
find_package(Python3 3.9 QUIET COMPONENTS Interpreter)
if(Python3_FOUND)
  add_custom_command(
    OUTPUT "${PROJECT_BINARY_DIR}/loopscope.spdx.json"
    COMMAND Python3::Interpreter "${PROJECT_SOURCE_DIR}/cmake/sbom.py" --source "${PROJECT_SOURCE_DIR}"
      --version "${PROJECT_VERSION}" --out "${PROJECT_BINARY_DIR}/loopscope.spdx.json"
    DEPENDS "${PROJECT_SOURCE_DIR}/cmake/sbom.py" "${PROJECT_SOURCE_DIR}/webui/page/package-lock.json"
    COMMENT "Writing the bill of materials"
    VERBATIM)
  add_custom_target(loopscope_sbom ALL DEPENDS "${PROJECT_BINARY_DIR}/loopscope.spdx.json")
  install(FILES "${PROJECT_BINARY_DIR}/loopscope.spdx.json" DESTINATION "${CMAKE_INSTALL_DOCDIR}")
else()
  message(STATUS "No python3: loopscope.spdx.json, the bill of materials, is not made")
endif()
install(FILES "${PROJECT_SOURCE_DIR}/LICENSE" DESTINATION "${CMAKE_INSTALL_DOCDIR}")
