# Sets of precompiled headers that rooms share by the HEADERS of denoised_add_room and the like. LibTorch's headers take
# 20 s a file to compile otherwise, gRPC's and GoogleMock's 5. Each file still includes all that it uses:
# -DDENOISED_PRECOMPILED_HEADERS=OFF builds without.
option(DENOISED_PRECOMPILED_HEADERS "Compile the headers of LibTorch, gRPC and GoogleMock once" ON)

# denoised_add_headers(<set> HEADERS <header>... LIBS <target>... [OPTIONS <option>...])
# OPTIONS: what whoever uses the set compiles with too.
function(denoised_add_headers set)
  cmake_parse_arguments(arg "" "" "HEADERS;LIBS;OPTIONS" ${ARGN})
  if(NOT DENOISED_PRECOMPILED_HEADERS)
    return()
  endif()
  set(source ${CMAKE_CURRENT_BINARY_DIR}/headers/${set}.cc)
  if(NOT EXISTS ${source})
    file(WRITE ${source} "// Nothing: what counts is precompiled.\n")
  endif()
  add_library(denoised_headers_${set} OBJECT ${source})
  target_link_libraries(denoised_headers_${set} PRIVATE ${arg_LIBS} denoised_warnings)
  target_compile_options(denoised_headers_${set} PRIVATE ${arg_OPTIONS})
  target_precompile_headers(denoised_headers_${set} PRIVATE ${arg_HEADERS})
endfunction()

function(denoised_use_headers target set)
  if(TARGET denoised_headers_${set})
    target_precompile_headers(${target} REUSE_FROM denoised_headers_${set})
    target_compile_options(${target} PRIVATE $<$<CXX_COMPILER_ID:GNU>:-fpch-preprocess>) # for ccache
  endif()
endfunction()

set(denoised_common_headers
  <algorithm> <chrono> <functional> <memory> <optional> <string> <utility> <vector>
  <absl/status/statusor.h> <absl/strings/str_cat.h> <absl/strings/str_format.h>)
set(denoised_torch_headers <torch/torch.h> <torch/script.h>)
set(denoised_grpc_headers <grpcpp/grpcpp.h> <google/protobuf/message.h>)
set(denoised_test_headers <gmock/gmock.h> <gtest/gtest.h>)

denoised_add_headers(grpc
  HEADERS ${denoised_common_headers} ${denoised_grpc_headers}
  LIBS gRPC::grpc++ protobuf::libprotobuf absl::statusor absl::str_format)
# Those of LibTorch take a minute, more than the eight files of the server save.
if(DENOISED_BUILD_TESTS)
  denoised_add_headers(torch
    HEADERS ${denoised_common_headers} ${denoised_torch_headers}
    LIBS denoised_torch absl::statusor absl::str_format)
  denoised_add_headers(test
    HEADERS ${denoised_common_headers} ${denoised_test_headers}
    LIBS GTest::gmock absl::statusor absl::str_format
    OPTIONS ${DENOISED_TEST_OPTIONS})
  denoised_add_headers(torch_test
    HEADERS ${denoised_common_headers} ${denoised_torch_headers} ${denoised_test_headers}
    LIBS GTest::gmock denoised_torch absl::statusor absl::str_format
    OPTIONS ${DENOISED_TEST_OPTIONS})
  denoised_add_headers(grpc_test
    HEADERS ${denoised_common_headers} ${denoised_grpc_headers} ${denoised_test_headers}
    LIBS GTest::gmock gRPC::grpc++ protobuf::libprotobuf absl::statusor absl::str_format
    OPTIONS ${DENOISED_TEST_OPTIONS})
endif()
