# SPDX-License-Identifier: Apache-2.0
#
# loopscope_check_fds(<test>... [STRICT] [SUPPRESSIONS <file>] [OPTIONS <option>...])
#
# Runs existing tests under `loopscope check`, which fails those that leak a descriptor. Their names, properties, fixtures and
# labels stay as they are.
#
#   add_test(NAME parser COMMAND parser_tests)
#   gtest_discover_tests(server_tests)
#   loopscope_check_fds(parser server_tests OPTIONS --output "junit:${CMAKE_BINARY_DIR}/leaks/@TEST@.xml")
#
# A <test> is the name of a test; or an executable target: all tests that run it, those of gtest_discover_tests() and
# catch_discover_tests() too; or a pattern with `*`. Call it after the tests and targets are there, in the directory that adds
# the tests. @TEST@ in an option becomes the name of the test, fit for a file name. LOOPSCOPE_COMMAND is the command to use,
# LOOPSCOPE_CHECK_FDS=OFF makes the function do nothing (a build with GCC's sanitizers, which want to be loaded first).
#
# How: what CTest runs is written into CTestTestfile.cmake by the generator and by the scripts of the discovery; no property of
# a test reaches it. But CTest executes that file as a script, and what is in the directory's TEST_INCLUDE_FILES first: there
# add_test() is given a new meaning (LoopscopeWrapTests.cmake). So it works with the command lines as they are in the end.
include_guard(GLOBAL)

option(LOOPSCOPE_CHECK_FDS "Run the tests that loopscope_check_fds() names under `loopscope check`" ON)
set(LOOPSCOPE_WRAP_TESTS "${CMAKE_CURRENT_LIST_DIR}/LoopscopeWrapTests.cmake")

function(loopscope_check_fds)
  cmake_parse_arguments(PARSE_ARGV 0 arg "STRICT" "SUPPRESSIONS" "OPTIONS")
  if(NOT arg_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "loopscope_check_fds: name the tests, or the executable targets that tests run.")
  endif()
  if(NOT LOOPSCOPE_CHECK_FDS)
    return()
  endif()

  if(TARGET loopscope_cli)
    set(command "$<TARGET_FILE:loopscope_cli>")
  else()
    find_program(LOOPSCOPE_COMMAND loopscope DOC "The loopscope command")
    if(NOT LOOPSCOPE_COMMAND)
      message(FATAL_ERROR "loopscope_check_fds: the loopscope command is not found; set LOOPSCOPE_COMMAND to its path, or "
        "LOOPSCOPE_CHECK_FDS to OFF to run the tests without it.")
    endif()
    set(command "${LOOPSCOPE_COMMAND}")
  endif()
  list(APPEND command check)
  if(arg_STRICT)
    list(APPEND command --strict)
  endif()
  if(arg_SUPPRESSIONS)
    get_filename_component(suppressions "${arg_SUPPRESSIONS}" ABSOLUTE)
    if(NOT EXISTS "${suppressions}")
      message(FATAL_ERROR "loopscope_check_fds: there is no file ${suppressions}.")
    endif()
    list(APPEND command --suppressions "${suppressions}")
  endif()
  list(APPEND command ${arg_OPTIONS} --)

  set(names "")
  set(files "")
  foreach(test IN LISTS arg_UNPARSED_ARGUMENTS)
    set(known FALSE)
    if(TEST "${test}" OR test MATCHES "[*]")
      list(APPEND names "${test}")
      set(known TRUE)
    endif()
    if(TARGET "${test}")
      get_target_property(type "${test}" TYPE)
      if(type STREQUAL "EXECUTABLE")
        list(APPEND files "$<TARGET_FILE:${test}>")
        set(known TRUE)
      endif()
    endif()
    if(NOT known)
      message(FATAL_ERROR "loopscope_check_fds: \"${test}\" is neither a test of this directory nor an executable target; call "
        "this after add_test() or add_executable(). Tests that are discovered are named by their target, or by a pattern.")
    endif()
  endforeach()

  get_property(number GLOBAL PROPERTY LOOPSCOPE_CHECK_FDS_CALLS)
  if(NOT number)
    set(number 0)
  endif()
  math(EXPR next "${number} + 1")
  set_property(GLOBAL PROPERTY LOOPSCOPE_CHECK_FDS_CALLS ${next})

  # Bracket arguments: nothing in them is taken for syntax.
  set(content "include([==[${LOOPSCOPE_WRAP_TESTS}]==])\nloopscope_wrap_tests(\n")
  foreach(part IN ITEMS names files command)
    string(TOUPPER "${part}" keyword)
    string(APPEND content "  ${keyword}")
    foreach(value IN LISTS ${part})
      string(APPEND content " [==[${value}]==]")
    endforeach()
    string(APPEND content "\n")
  endforeach()
  string(APPEND content ")\n")
  set(script "${CMAKE_CURRENT_BINARY_DIR}/loopscope_check_fds_${number}")
  get_property(multi_config GLOBAL PROPERTY GENERATOR_IS_MULTI_CONFIG)
  if(multi_config)
    file(GENERATE OUTPUT "${script}-$<CONFIG>.cmake" CONTENT "${content}")
    # Without `ctest -C` no test has a command.
    file(WRITE "${script}.cmake"
      "set(loopscope_script [==[${script}]==])\ninclude(\"\${loopscope_script}-\${CTEST_CONFIGURATION_TYPE}.cmake\" OPTIONAL)\n")
  else()
    file(GENERATE OUTPUT "${script}.cmake" CONTENT "${content}")
  endif()

  # First, so that it comes before the files of tests that were discovered.
  get_property(included DIRECTORY PROPERTY TEST_INCLUDE_FILES)
  set_property(DIRECTORY PROPERTY TEST_INCLUDE_FILES "${script}.cmake" ${included})
endfunction()
