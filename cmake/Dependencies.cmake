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
denoised_find(Boost libboost-dev 1.74 CONFIG) # Asio and Beast, which are headers alone
denoised_find(OpenSSL libssl-dev)
denoised_find(ZLIB zlib1g-dev)
denoised_find(GIF libgif-dev)
denoised_find(PNG libpng-dev)
pkg_check_modules(libzip IMPORTED_TARGET GLOBAL libzip) # its CMake files want programs that its package does not bring
if(NOT libzip_FOUND)
  denoised_require_failed(libzip libzip-dev)
endif()
denoised_find(prometheus-cpp "prometheus-cpp-dev civetweb" CONFIG)
denoised_find(nlohmann_json nlohmann-json3-dev CONFIG)
denoised_find(spdlog libspdlog-dev CONFIG)
denoised_find(CLI11 libcli11-dev CONFIG)
if(DENOISED_BUILD_TESTS OR DENOISED_GPU_REPORT)
  denoised_find(GTest "libgtest-dev libgmock-dev")
endif()

if(NOT DENOISED_SERVING_ONLY)
  denoised_find(OpenCV libopencv-dev COMPONENTS core imgproc imgcodecs)
  add_library(denoised_opencv INTERFACE)
  target_include_directories(denoised_opencv SYSTEM INTERFACE ${OpenCV_INCLUDE_DIRS})
  target_link_libraries(denoised_opencv INTERFACE opencv_core opencv_imgproc opencv_imgcodecs)
  include(LibTorch)
endif()
include(OneDnn)
