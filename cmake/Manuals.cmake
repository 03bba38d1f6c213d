# denoised_install_manuals(<component> <program>...)
#
# Manual pages and completions for bash, zsh and fish, which each program prints from its own flags once it is built. The
# target denoised_<component>_manuals makes them; a build under a sanitizer does so only when asked.
function(denoised_install_manuals component)
  set(folder ${CMAKE_BINARY_DIR}/manuals)
  set(data ${CMAKE_INSTALL_DATADIR})
  set(all ALL)
  if(DENOISED_SANITIZE)
    set(all "")
  endif()
  file(MAKE_DIRECTORY ${folder})
  set(files "")
  foreach(program IN LISTS ARGN)
    set(printed ${folder}/${program}.1 ${folder}/${program}.bash ${folder}/_${program} ${folder}/${program}.fish)
    list(APPEND files ${printed})
    add_custom_command(OUTPUT ${printed}
      COMMAND ${program} --print_manual > ${folder}/${program}.1
      COMMAND ${program} --print_completions bash > ${folder}/${program}.bash
      COMMAND ${program} --print_completions zsh > ${folder}/_${program}
      COMMAND ${program} --print_completions fish > ${folder}/${program}.fish
      DEPENDS ${program}
      COMMENT "Printing the manual and the completions of ${program}"
      VERBATIM)
    install(FILES ${folder}/${program}.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1 COMPONENT ${component})
    install(FILES ${folder}/${program}.bash DESTINATION ${data}/bash-completion/completions RENAME ${program} COMPONENT ${component})
    install(FILES ${folder}/_${program} DESTINATION ${data}/zsh/vendor-completions COMPONENT ${component})
    install(FILES ${folder}/${program}.fish DESTINATION ${data}/fish/vendor_completions.d COMPONENT ${component})
  endforeach()
  add_custom_target(denoised_${component}_manuals ${all} DEPENDS ${files})
endfunction()
