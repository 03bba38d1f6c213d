# DENOISED_SANITIZE applies to every target of this project.
if(DENOISED_SANITIZE)
  if(NOT DENOISED_SANITIZE MATCHES "^(address,undefined|address|undefined|thread)$")
    message(FATAL_ERROR "DENOISED_SANITIZE is '${DENOISED_SANITIZE}'; use address,undefined or thread.")
  endif()
  add_compile_options(
    "$<$<COMPILE_LANGUAGE:CXX>:-fsanitize=${DENOISED_SANITIZE};-fno-omit-frame-pointer;-fno-sanitize-recover=undefined>")
  add_link_options(-fsanitize=${DENOISED_SANITIZE})
endif()
