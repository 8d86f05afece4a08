# SPDX-License-Identifier: Apache-2.0
#
# What everything that is built for users is compiled and linked with, so that a memory fault in it stays a crash. The flags come
# with loopscope_options, for targets whose property LOOPSCOPE_HARDENED is on; its default is the variable of that name where the
# target is made. tests/ sets it off: test programs are there to look like other people's. tests/security/hardening_test.py reads
# the built files.
include(CheckPIESupported)
check_pie_supported()

define_property(TARGET PROPERTY LOOPSCOPE_HARDENED INITIALIZE_FROM_VARIABLE LOOPSCOPE_HARDENED
  BRIEF_DOCS "Compiled and linked as cmake/Hardening.cmake says")
define_property(TARGET PROPERTY LOOPSCOPE_FORTIFIED INITIALIZE_FROM_VARIABLE LOOPSCOPE_FORTIFIED
  BRIEF_DOCS "Of a hardened target: compiled with _FORTIFY_SOURCE")
option(LOOPSCOPE_HARDENING "Build with the flags of cmake/Hardening.cmake" ON)
set(LOOPSCOPE_HARDENED ${LOOPSCOPE_HARDENING})
set(LOOPSCOPE_FORTIFIED ON)
# The sanitizers look for the same faults, in other ways that these get in the way of.
if("${CMAKE_C_FLAGS} ${CMAKE_CXX_FLAGS}" MATCHES "-fsanitize=")
  set(LOOPSCOPE_HARDENED OFF)
endif()

set(hardening_compile -fstack-protector-strong -fstack-clash-protection)
# Intel's CET: indirect branches land on endbr64 (IBT), returns go where the call came from (SHSTK). Assembly gets it too: cet.h.
set(hardening_branches "")
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  set(hardening_branches -fcf-protection=full)
endif()
# Checks sizes where they are known at compile time (2) or computed at run time too (3). Needs an optimiser.
set(hardening_fortify 2)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_GREATER_EQUAL 12)
  set(hardening_fortify 3)
endif()
set(hardening_fortify -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=${hardening_fortify})
set(hardening_link -Wl,-z,relro -Wl,-z,now -Wl,-z,noexecstack)

set(hardened "$<BOOL:$<TARGET_PROPERTY:LOOPSCOPE_HARDENED>>")
set(fortified "$<AND:$<BOOL:$<TARGET_PROPERTY:LOOPSCOPE_FORTIFIED>>,$<CONFIG:Release,RelWithDebInfo,MinSizeRel>>")
set(c_or_cxx "$<COMPILE_LANGUAGE:C,CXX>")
target_compile_options(loopscope_options INTERFACE
  "$<${hardened}:${hardening_branches}>"
  "$<$<AND:${hardened},${c_or_cxx}>:${hardening_compile}>"
  "$<$<AND:${hardened},${c_or_cxx},${fortified}>:${hardening_fortify}>")
target_link_options(loopscope_options INTERFACE "$<${hardened}:${hardening_link}>")
