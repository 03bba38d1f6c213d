# The CUDA kernel, which needs nvcc and the CUDA runtime, linked statically, and nothing of LibTorch's. Sets
# DENOISED_CUDA_KERNEL. A toolkit that scripts/setup.sh --cuda has put into the build folder is found by itself.
set(DENOISED_CUDA AUTO CACHE STRING "The CUDA kernel: AUTO where a CUDA Toolkit is found, ON or OFF")
set(DENOISED_CUDA_KERNEL OFF)
set(denoised_cuda_why "no CUDA Toolkit of version 12 or later was found")
if(NOT DENOISED_CUDA)
  set(denoised_cuda_why "DENOISED_CUDA is OFF")
  return()
endif()

file(GLOB denoised_cuda_wheels ${PROJECT_SOURCE_DIR}/build/cuda/nvidia/cu*)
if(denoised_cuda_wheels AND NOT CUDAToolkit_ROOT AND NOT DEFINED ENV{CUDAToolkit_ROOT})
  set(CUDAToolkit_ROOT ${denoised_cuda_wheels})
endif()
# NOTE: CMake 3.25 sets a property of this target, which is not there with CUDA 13, that has no such library.
if(NOT TARGET CUDA::nvToolsExt)
  add_library(CUDA::nvToolsExt INTERFACE IMPORTED)
endif()
find_package(CUDAToolkit 12.0 QUIET)
if(CUDAToolkit_FOUND AND CUDAToolkit_NVCC_EXECUTABLE AND NOT DEFINED CMAKE_CUDA_COMPILER)
  # An nvcc may be there that does not work with this C++ compiler.
  include(CheckLanguage)
  if(NOT DEFINED ENV{CUDACXX})
    set(ENV{CUDACXX} ${CUDAToolkit_NVCC_EXECUTABLE})
  endif()
  check_language(CUDA)
  set(denoised_cuda_why "${CUDAToolkit_NVCC_EXECUTABLE} does not work with ${CMAKE_CXX_COMPILER}")
endif()
if(CUDAToolkit_FOUND AND CMAKE_CUDA_COMPILER AND TARGET CUDA::cudart_static)
  set(DENOISED_CUDA_KERNEL ON)
  set(denoised_cuda_why "--device=cuda by this project's own kernel, CUDA ${CUDAToolkit_VERSION}")
  set(CMAKE_CUDA_ARCHITECTURES OFF) # common/engine/cuda/CMakeLists.txt names them
  enable_language(CUDA)
  if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION) # CMake 3.25 does not know that nvcc has it
    set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
  endif()
elseif(NOT DENOISED_CUDA STREQUAL "AUTO")
  message(FATAL_ERROR
    "DENOISED_CUDA is ${DENOISED_CUDA}, but ${denoised_cuda_why}. Point CUDAToolkit_ROOT at one, set CUDAHOSTCXX to a "
    "compiler that it takes, get one with scripts/setup.sh --cuda, or leave DENOISED_CUDA at AUTO.")
endif()
