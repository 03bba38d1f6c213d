# denoised_add_room(<name> [SOURCES <file>...] [PUBLIC <target>...] [PRIVATE <target>...] [HEADERS <set>])
#
# The library of the folder it is called in: target denoised_<name>, used as denoised::<name>. PUBLIC: what its headers
# include, PRIVATE: what only its sources do; tests/architecture compares both with the #include lines. A room without
# SOURCES is headers alone. HEADERS: the precompiled ones that its sources share, see PrecompiledHeaders.cmake.
function(denoised_add_room name)
  cmake_parse_arguments(arg "" "HEADERS" "SOURCES;PUBLIC;PRIVATE" ${ARGN})
  add_library(denoised_${name} STATIC ${arg_SOURCES})
  add_library(denoised::${name} ALIAS denoised_${name})
  target_include_directories(denoised_${name} PUBLIC ${PROJECT_SOURCE_DIR})
  target_link_libraries(denoised_${name} PUBLIC ${arg_PUBLIC} PRIVATE ${arg_PRIVATE} denoised_warnings)
  denoised_use_headers(denoised_${name} "${arg_HEADERS}")
endfunction()

# denoised_add_program(<name> <source>... LIBS <target>... [HEADERS <set>])
function(denoised_add_program name)
  cmake_parse_arguments(arg "" "HEADERS" "LIBS" ${ARGN})
  add_executable(${name} ${arg_UNPARSED_ARGUMENTS})
  target_link_libraries(${name} PRIVATE ${arg_LIBS} denoised_warnings)
  denoised_use_headers(${name} "${arg_HEADERS}")
endfunction()
