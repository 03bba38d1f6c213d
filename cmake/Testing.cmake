# denoised_add_test(<name> LABELS <label>... [TIMEOUT <s>] [SOURCES <file>...] LIBS <target>...)
#
# One GoogleTest binary per tested source file: tests/<folder>/<x>_test.cc tests <folder>/<x>.cc, and its target is
# <folder>_<x>_test. A test labelled `pure`
# links neither gRPC nor LibTorch and joins the target denoised_pure_tests, which the tsan preset builds.
denoised_find(GTest "libgtest-dev libgmock-dev")
include(GoogleTest)
add_custom_target(denoised_pure_tests)

if(DENOISED_SANITIZE STREQUAL "thread")
  include(TsanAbslMutex)
  denoised_add_tsan_mutex(denoised_tsan_mutex)
endif()

function(denoised_add_test name)
  cmake_parse_arguments(arg "" "TIMEOUT" "LABELS;SOURCES;LIBS" ${ARGN})
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 120)
  endif()
  cmake_path(GET CMAKE_CURRENT_SOURCE_DIR FILENAME folder)
  set(target ${folder}_${name})
  add_executable(${target} ${name}.cc ${arg_SOURCES})
  target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR})
  target_link_libraries(${target} PRIVATE ${arg_LIBS} denoised_warnings GTest::gmock GTest::gtest_main)
  if(TARGET denoised_tsan_mutex)
    target_link_libraries(${target} PRIVATE denoised_tsan_mutex)
  endif()
  target_compile_definitions(${target} PRIVATE
    DENOISED_SOURCE_DIR="${PROJECT_SOURCE_DIR}" DENOISED_BIN_DIR="${CMAKE_RUNTIME_OUTPUT_DIRECTORY}")
  list(JOIN arg_LABELS "-" label) # NOTE: one label, because PRE_TEST discovery drops all but the first of a list
  gtest_discover_tests(${target} DISCOVERY_MODE PRE_TEST PROPERTIES LABELS ${label} TIMEOUT ${arg_TIMEOUT})
  if("pure" IN_LIST arg_LABELS)
    add_dependencies(denoised_pure_tests ${target})
  endif()
endfunction()
