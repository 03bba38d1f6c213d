# Every third-party package, found once. A missing one is reported with the Debian package that brings it.

function(denoised_require_failed name packages)
  message(FATAL_ERROR "${name} was not found. On Debian 12 and later install it with\n"
                      "  apt-get install ${packages}\n"
                      "or run scripts/setup.sh, which installs everything that is needed.")
endfunction()

macro(denoised_find name packages)
  find_package(${name} ${ARGN})
  if(NOT ${name}_FOUND)
    denoised_require_failed(${name} "${packages}")
  endif()
endmacro()

denoised_find(Threads libc6-dev)
denoised_find(PkgConfig pkg-config) # gRPC's own CMake files ask for it
denoised_find(Protobuf "libprotobuf-dev protobuf-compiler")
denoised_find(absl libabsl-dev CONFIG)
denoised_find(gRPC "libgrpc++-dev protobuf-compiler-grpc" CONFIG)
denoised_find(OpenSSL libssl-dev)
denoised_find(ZLIB zlib1g-dev)
denoised_find(OpenCV libopencv-dev COMPONENTS core imgproc imgcodecs)
denoised_find(prometheus-cpp "prometheus-cpp-dev civetweb" CONFIG)
denoised_find(nlohmann_json nlohmann-json3-dev CONFIG)
denoised_find(spdlog libspdlog-dev CONFIG)
denoised_find(CLI11 libcli11-dev CONFIG)
if(DENOISED_BUILD_TESTS)
  denoised_find(GTest "libgtest-dev libgmock-dev")
endif()
# NOTE: a LibTorch with CUDA chooses GPUs for CUDA code, at length, and tells nvcc; ours is told in common/engine/cuda/CMakeLists.txt.
if(NOT DEFINED TORCH_CUDA_ARCH_LIST)
  set(TORCH_CUDA_ARCH_LIST 8.0)
endif()
denoised_find(Torch libtorch-dev)
unset(CMAKE_CUDA_FLAGS) # the cache's value comes forth

# NOTE: by pkg-config, which brings the definitions that the library was built with; without them the header's classes
# have another size than the library's.
pkg_check_modules(HTTPLIB IMPORTED_TARGET cpp-httplib)
if(NOT HTTPLIB_FOUND)
  denoised_require_failed(cpp-httplib libcpp-httplib-dev)
endif()
add_library(denoised_httplib ALIAS PkgConfig::HTTPLIB)

add_library(denoised_opencv INTERFACE)
target_include_directories(denoised_opencv SYSTEM INTERFACE ${OpenCV_INCLUDE_DIRS})
target_link_libraries(denoised_opencv INTERFACE opencv_core opencv_imgproc opencv_imgcodecs)

# Where the standard protos of health checking and reflection live.
find_path(GRPC_PROTO_DIR grpc/health/v1/health.proto PATH_SUFFIXES share/grpc-proto)
if(NOT GRPC_PROTO_DIR)
  denoised_require_failed("grpc/health/v1/health.proto" grpc-proto)
endif()

# LibTorch wrapped once: its headers are not ours to warn about.
add_library(denoised_torch INTERFACE)
target_include_directories(denoised_torch SYSTEM INTERFACE ${TORCH_INCLUDE_DIRS})
target_link_libraries(denoised_torch INTERFACE ${TORCH_LIBRARIES})
separate_arguments(denoised_torch_flags NATIVE_COMMAND "${TORCH_CXX_FLAGS}")
target_compile_options(denoised_torch INTERFACE ${denoised_torch_flags})

# What training in several processes is built on; LibTorch does not bring these headers.
find_path(GLOO_INCLUDE_DIR gloo/rendezvous/store.h)
find_path(NCCL_INCLUDE_DIR nccl.h)

# The CUDA kernel, which needs nvcc and the CUDA runtime, linked statically, and nothing of LibTorch's.
set(DENOISED_CUDA_KERNEL OFF)
if(DENOISED_CUDA)
  find_package(CUDAToolkit 12.0 QUIET)
  if(CUDAToolkit_FOUND AND CUDAToolkit_NVCC_EXECUTABLE AND NOT DEFINED CMAKE_CUDA_COMPILER)
    # An nvcc may be there that does not work with this C++ compiler.
    include(CheckLanguage)
    if(NOT DEFINED ENV{CUDACXX})
      set(ENV{CUDACXX} ${CUDAToolkit_NVCC_EXECUTABLE})
    endif()
    check_language(CUDA)
  endif()
  if(CUDAToolkit_FOUND AND CMAKE_CUDA_COMPILER)
    set(DENOISED_CUDA_KERNEL ON)
    set(CMAKE_CUDA_ARCHITECTURES OFF) # common/engine/cuda/CMakeLists.txt names them
    enable_language(CUDA)
    if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION) # CMake 3.25 does not know that nvcc has it
      set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
    endif()
  elseif(NOT DENOISED_CUDA STREQUAL "AUTO")
    message(FATAL_ERROR "DENOISED_CUDA is ${DENOISED_CUDA}, but no CUDA Toolkit of version 12 or later was found whose "
                        "nvcc works with ${CMAKE_CXX_COMPILER}. Point CUDAToolkit_ROOT at one, set CUDAHOSTCXX to a "
                        "compiler that it takes, or leave DENOISED_CUDA at AUTO.")
  endif()
endif()

# oneDNN, called without LibTorch in between where it is the very library that LibTorch is linked with: another one in the
# same process would answer to the same names. NOTE: not by its CMake files, which ask for OpenCL.
set(DENOISED_ONEDNN OFF)
find_package(OpenMP QUIET COMPONENTS CXX)
find_path(DNNL_INCLUDE_DIR oneapi/dnnl/dnnl.hpp)
find_library(DNNL_LIBRARY dnnl)
find_library(TORCH_CPU_LIBRARY torch_cpu HINTS ${TORCH_INSTALL_PREFIX}/lib)
if(OpenMP_CXX_FOUND AND DNNL_INCLUDE_DIR AND DNNL_LIBRARY AND TORCH_CPU_LIBRARY AND CMAKE_OBJDUMP)
  foreach(library DNNL TORCH_CPU)
    execute_process(COMMAND ${CMAKE_OBJDUMP} -p ${${library}_LIBRARY} OUTPUT_VARIABLE ${library}_HEADERS ERROR_QUIET)
  endforeach()
  string(REGEX MATCH "SONAME +([^ \n]+)" _ "${DNNL_HEADERS}")
  set(DNNL_SONAME ${CMAKE_MATCH_1})
  if(DNNL_SONAME AND TORCH_CPU_HEADERS MATCHES "NEEDED +${DNNL_SONAME}\n")
    set(DENOISED_ONEDNN ON)
    add_library(denoised_onednn INTERFACE)
    target_include_directories(denoised_onednn SYSTEM INTERFACE ${DNNL_INCLUDE_DIR})
    target_link_libraries(denoised_onednn INTERFACE ${DNNL_LIBRARY} OpenMP::OpenMP_CXX)
  endif()
endif()
