# denoised_install_manuals(<component> <program>...)
#
# Manual pages and completions for bash, zsh and fish, which each program prints from its own flags when it is installed.
function(denoised_install_manuals component)
  set(folder ${CMAKE_BINARY_DIR}/manuals)
  set(data ${CMAKE_INSTALL_DATADIR})
  foreach(program IN LISTS ARGN)
    install(CODE "
      file(MAKE_DIRECTORY \"${folder}\")
      function(print file)
        execute_process(COMMAND \"$<TARGET_FILE:${program}>\" \${ARGN} OUTPUT_FILE \"${folder}/\${file}\"
                        COMMAND_ERROR_IS_FATAL ANY)
      endfunction()
      print(${program}.1 --print_manual)
      print(${program}.bash --print_completions bash)
      print(_${program} --print_completions zsh)
      print(${program}.fish --print_completions fish)" COMPONENT ${component})
    install(FILES ${folder}/${program}.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1 COMPONENT ${component})
    install(FILES ${folder}/${program}.bash DESTINATION ${data}/bash-completion/completions RENAME ${program} COMPONENT ${component})
    install(FILES ${folder}/_${program} DESTINATION ${data}/zsh/vendor-completions COMPONENT ${component})
    install(FILES ${folder}/${program}.fish DESTINATION ${data}/fish/vendor_completions.d COMPONENT ${component})
  endforeach()
endfunction()
