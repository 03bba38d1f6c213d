# DENOISED_SANITIZE applies to every target of this project.
if(DENOISED_SANITIZE)
  if(NOT DENOISED_SANITIZE MATCHES "^((fuzzer-no-link,)?address,undefined|address|undefined|thread)$")
    message(FATAL_ERROR "DENOISED_SANITIZE is '${DENOISED_SANITIZE}'; use address,undefined or thread, or with Clang fuzzer-no-link,address,undefined.")
  endif()
  add_compile_options(
    "$<$<COMPILE_LANGUAGE:CXX>:-fsanitize=${DENOISED_SANITIZE};-fno-omit-frame-pointer;-fno-sanitize-recover=undefined>")
  # With a sanitizer's checks in between, GCC no longer sees what has been initialised.
  add_compile_options($<$<COMPILE_LANG_AND_ID:CXX,GNU>:-Wno-maybe-uninitialized>)
  # Asio's fences: its own locks are beside them.
  if(DENOISED_SANITIZE STREQUAL "thread")
    add_compile_options($<$<COMPILE_LANG_AND_ID:CXX,GNU>:-Wno-tsan>)
  endif()
  add_link_options(-fsanitize=${DENOISED_SANITIZE})
endif()
