# LibTorch, as the target denoised_torch: a distribution's, an unpacked archive, or the one inside pip's PyTorch, found by
#   -DCMAKE_PREFIX_PATH=$(python3 -c 'import torch; print(torch.utils.cmake_prefix_path)')
# Without its own CMake files: a LibTorch with CUDA insists there on a CUDA Toolkit of its version, though only the GPU
# code needs one, chooses GPUs for CUDA code and tells nvcc. Only the CPU's library is linked; the GPU's is loaded when a
# program asks for it (common/checkpoint/torch_cuda.h).
#
# Sets LIBTORCH_INCLUDE_DIR, LIBTORCH_LIBRARY (libtorch_cpu), LIBTORCH_VERSION and LIBTORCH_NEEDED (the libraries that it
# is linked with).

set(denoised_libtorch_roots ${Torch_ROOT} $ENV{Torch_ROOT})
string(REPLACE ":" ";" denoised_prefixes "$ENV{CMAKE_PREFIX_PATH}")
foreach(prefix IN LISTS CMAKE_PREFIX_PATH denoised_prefixes Torch_DIR)
  string(REGEX REPLACE "/share/cmake(/Torch)?/?$" "" root "${prefix}")
  list(APPEND denoised_libtorch_roots ${root})
endforeach()

find_path(LIBTORCH_INCLUDE_DIR torch/csrc/api/include/torch/version.h
          HINTS ${denoised_libtorch_roots} PATH_SUFFIXES include)
find_library(LIBTORCH_LIBRARY torch_cpu HINTS ${denoised_libtorch_roots} PATH_SUFFIXES lib)
find_library(LIBTORCH_C10_LIBRARY c10 HINTS ${denoised_libtorch_roots} PATH_SUFFIXES lib)
if(NOT LIBTORCH_INCLUDE_DIR OR NOT LIBTORCH_LIBRARY OR NOT LIBTORCH_C10_LIBRARY)
  message(FATAL_ERROR
    "LibTorch was not found. On Debian 12 and later install it with\n"
    "  apt-get install libtorch-dev\n"
    "or elsewhere with `pip install torch`, and give this command\n"
    "  -DCMAKE_PREFIX_PATH=$(python3 -c 'import torch; print(torch.utils.cmake_prefix_path)')")
endif()

# Two LibTorches: the headers of one with the libraries of another would compile, and crash.
function(denoised_libtorch_root result path)
  foreach(root IN LISTS denoised_libtorch_roots)
    cmake_path(IS_PREFIX root "${path}" NORMALIZE inside)
    if(inside)
      set(${result} ${root} PARENT_SCOPE)
      return()
    endif()
  endforeach()
  set(${result} "the system" PARENT_SCOPE)
endfunction()

denoised_libtorch_root(denoised_libtorch_root ${LIBTORCH_LIBRARY})
foreach(part ${LIBTORCH_C10_LIBRARY} ${LIBTORCH_INCLUDE_DIR})
  denoised_libtorch_root(root ${part})
  if(NOT root STREQUAL denoised_libtorch_root)
    set(denoised_other_libtorch ${part})
  endif()
endforeach()
foreach(root IN LISTS denoised_libtorch_roots)
  if(EXISTS ${root}/lib/libtorch_cpu.so AND NOT root STREQUAL denoised_libtorch_root)
    set(denoised_other_libtorch ${root}/lib/libtorch_cpu.so)
  endif()
endforeach()
if(denoised_other_libtorch)
  message(FATAL_ERROR
    "Two LibTorches were found:\n"
    "  ${LIBTORCH_LIBRARY}\n"
    "  ${denoised_other_libtorch}\n"
    "A program can use one only. Name its folder, the one that has lib/ and include/ in it, with -DTorch_ROOT=FOLDER, "
    "leave the other one's out of CMAKE_PREFIX_PATH, and configure in an empty build folder (cmake --fresh).")
endif()

# Newer ones have the numbers in a header of their own.
foreach(header torch/headeronly/version.h torch/csrc/api/include/torch/version.h)
  if(EXISTS ${LIBTORCH_INCLUDE_DIR}/${header} AND NOT LIBTORCH_VERSION)
    file(STRINGS ${LIBTORCH_INCLUDE_DIR}/${header} denoised_version_lines
         REGEX "^#define TORCH_VERSION_(MAJOR|MINOR|PATCH) [0-9]+")
    string(REGEX REPLACE "[^;]* ([0-9]+)" "\\1" LIBTORCH_VERSION "${denoised_version_lines}")
    string(REPLACE ";" "." LIBTORCH_VERSION "${LIBTORCH_VERSION}")
  endif()
endforeach()
if(LIBTORCH_VERSION VERSION_LESS 1.13)
  message(FATAL_ERROR "${LIBTORCH_LIBRARY} is LibTorch ${LIBTORCH_VERSION}; denoised needs 1.13 or later.")
endif()

file(STRINGS ${LIBTORCH_C10_LIBRARY} denoised_c10_error REGEX "^_ZN3c105ErrorC[12]ENS_14SourceLocationE" LIMIT_COUNT 1)
if(denoised_c10_error AND NOT denoised_c10_error MATCHES "cxx11")
  message(FATAL_ERROR
    "${LIBTORCH_LIBRARY} (${LIBTORCH_VERSION}) was built with the C++ ABI from before C++11, and gRPC, Protobuf and "
    "OpenCV were not: they cannot share a program. Use pip's PyTorch 2.7 or later, or the archive that is called "
    "cxx11 ABI.")
endif()

# What it is linked with, and whether all of that is there.
execute_process(COMMAND ldd ${LIBTORCH_LIBRARY} OUTPUT_VARIABLE LIBTORCH_NEEDED ERROR_QUIET)
string(REGEX MATCHALL "[^ \t\n]+ => not found" denoised_absent "${LIBTORCH_NEEDED}")
if(denoised_absent)
  list(TRANSFORM denoised_absent REPLACE " => not found" "")
  list(REMOVE_DUPLICATES denoised_absent)
  list(JOIN denoised_absent ", " denoised_absent)
  message(FATAL_ERROR
    "${LIBTORCH_LIBRARY} (${LIBTORCH_VERSION}) cannot be loaded: it needs ${denoised_absent}. A PyTorch from pip brings "
    "what it needs in packages beside it: install it without --no-deps.")
endif()

add_library(denoised_torch INTERFACE)
target_include_directories(denoised_torch SYSTEM INTERFACE
  ${LIBTORCH_INCLUDE_DIR}/torch/csrc/api/include ${LIBTORCH_INCLUDE_DIR})
target_compile_definitions(denoised_torch INTERFACE USE_DISTRIBUTED)
target_link_libraries(denoised_torch INTERFACE ${LIBTORCH_LIBRARY} ${LIBTORCH_C10_LIBRARY})

# What training in several processes is built on. LibTorch has gloo inside or is linked with it, but brings no headers of
# it; those of another gloo than its own would crash.
set(GLOO_INCLUDE_DIR "")
if(LIBTORCH_NEEDED MATCHES "libgloo\\.so")
  find_path(DENOISED_GLOO_INCLUDE_DIR gloo/rendezvous/store.h)
  if(DENOISED_GLOO_INCLUDE_DIR)
    set(GLOO_INCLUDE_DIR ${DENOISED_GLOO_INCLUDE_DIR})
  endif()
endif()
find_path(NCCL_INCLUDE_DIR nccl.h)
message(STATUS "LibTorch ${LIBTORCH_VERSION}: ${LIBTORCH_LIBRARY}")
