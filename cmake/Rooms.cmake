# denoised_add_room(<name> [SOURCES <file>...] [PUBLIC <target>...] [PRIVATE <target>...] [HEADERS <set>])
#
# The library of the folder it is called in: target denoised_<name>, used as denoised::<name>. PUBLIC: what its headers
# include, PRIVATE: what only its sources do; tests/architecture compares both with the #include lines. A room without
# SOURCES is headers alone. What a build without LibTorch and OpenCV leaves out is dropped from PUBLIC and PRIVATE.
# HEADERS: the precompiled ones that its sources share, see PrecompiledHeaders.cmake.
set(denoised_left_out "")
if(DENOISED_SERVING_ONLY)
  set(denoised_left_out denoised_torch denoised_opencv denoised::checkpoint)
endif()

function(denoised_add_room name)
  cmake_parse_arguments(arg "" "HEADERS" "SOURCES;PUBLIC;PRIVATE" ${ARGN})
  list(REMOVE_ITEM arg_PUBLIC ${denoised_left_out})
  list(REMOVE_ITEM arg_PRIVATE ${denoised_left_out})
  add_library(denoised_${name} STATIC ${arg_SOURCES})
  add_library(denoised::${name} ALIAS denoised_${name})
  target_include_directories(denoised_${name} PUBLIC ${PROJECT_SOURCE_DIR})
  target_link_libraries(denoised_${name} PUBLIC ${arg_PUBLIC} PRIVATE ${arg_PRIVATE} denoised_warnings)
  denoised_use_headers(denoised_${name} "${arg_HEADERS}")
endfunction()

# Linked into every program, of the tests too.
add_library(denoised_mutex_order OBJECT ${CMAKE_CURRENT_LIST_DIR}/absl_mutex_order.cc)
target_link_libraries(denoised_mutex_order PRIVATE absl::synchronization denoised_warnings)

# denoised_add_program(<name> <source>... LIBS <target>... [HEADERS <set>])
function(denoised_add_program name)
  cmake_parse_arguments(arg "" "HEADERS" "LIBS" ${ARGN})
  add_executable(${name} ${arg_UNPARSED_ARGUMENTS})
  target_link_libraries(${name} PRIVATE ${arg_LIBS} denoised_mutex_order denoised_warnings)
  denoised_use_headers(${name} "${arg_HEADERS}")
endfunction()
