# denoised_add_tests(<name> SOURCES <file>... [TSAN <file>...] LIBS <target>... [TSAN_LIBS <target>...]
#                    [PROGRAMS <target>...] [TIMEOUT <s>] [HEADERS <set>] [OPTIMISED])
#
# One GoogleTest binary for the tests of a room, in the folder of tests/ that mirrors it; ctest lists its tests one by
# one, labelled with that folder. TSAN: those of the SOURCES that run under ThreadSanitizer too, which needs all that
# they link to be compiled for it: neither gRPC nor LibTorch. PROGRAMS: what the tests run. The target denoised_tests
# builds all of them. OPTIMISED: where the tests themselves compute for long, as simulations do; they share no headers.
# HEADERS: see PrecompiledHeaders.cmake, else `test`. NOTE: not `torch_test` where most files know no LibTorch, whose
# operator<< for vectors GoogleTest would take for all of ours.
include(GoogleTest)
add_custom_target(denoised_tests)

set(denoised_under_tsan OFF)
if(DENOISED_SANITIZE STREQUAL "thread")
  set(denoised_under_tsan ON)
  include(TsanAbslMutex)
  denoised_add_tsan_mutex(denoised_tsan_mutex)
endif()

function(denoised_add_tests name)
  cmake_parse_arguments(arg "OPTIMISED" "TIMEOUT;HEADERS" "SOURCES;TSAN;LIBS;TSAN_LIBS;PROGRAMS" ${ARGN})
  if(denoised_under_tsan)
    set(arg_SOURCES ${arg_TSAN})
    set(arg_HEADERS test)
    set(arg_PROGRAMS "")
    if(arg_TSAN_LIBS)
      set(arg_LIBS ${arg_TSAN_LIBS})
    endif()
  endif()
  if(NOT arg_SOURCES)
    return()
  endif()
  if(NOT arg_HEADERS)
    set(arg_HEADERS test)
  endif()
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 120)
  endif()
  set(target ${name}_tests)
  add_executable(${target} ${arg_SOURCES})
  target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR})
  target_link_libraries(${target} PRIVATE ${arg_LIBS} denoised_mutex_order denoised_warnings GTest::gmock GTest::gtest_main)
  if(NOT arg_OPTIMISED)
    target_compile_options(${target} PRIVATE ${DENOISED_TEST_OPTIONS})
    denoised_use_headers(${target} ${arg_HEADERS})
  endif()
  if(TARGET denoised_tsan_mutex)
    target_link_libraries(${target} PRIVATE denoised_tsan_mutex)
  endif()
  target_compile_definitions(${target} PRIVATE
    DENOISED_SOURCE_DIR="${PROJECT_SOURCE_DIR}" DENOISED_BIN_DIR="${CMAKE_RUNTIME_OUTPUT_DIRECTORY}")
  cmake_path(RELATIVE_PATH CMAKE_CURRENT_SOURCE_DIR BASE_DIRECTORY ${PROJECT_SOURCE_DIR}/tests OUTPUT_VARIABLE room)
  gtest_discover_tests(${target} DISCOVERY_MODE PRE_TEST NO_PRETTY_VALUES
                       PROPERTIES LABELS ${room} TIMEOUT ${arg_TIMEOUT})
  if(arg_PROGRAMS)
    add_dependencies(${target} ${arg_PROGRAMS})
  endif()
  add_dependencies(denoised_tests ${target})
endfunction()
