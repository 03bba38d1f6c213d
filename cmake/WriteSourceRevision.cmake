# A script: cmake -DGIT_EXECUTABLE=... -DSOURCE_DIR=... -DTEMPLATE=... -DOUTPUT=... [-DREVISION=...] -P WriteSourceRevision.cmake
#
# Fills in of TEMPLATE @DENOISED_SOURCE_REVISION@: the commit that SOURCE_DIR is at, in 12 digits, and -dirty where
# tracked files differ from it; REVISION where that is given; "unknown" outside a repository of its own or without git. And
# @DENOISED_SOURCE_DATE@: that commit's date, or nothing. Leaves OUTPUT alone when nothing changed.
function(git result)
  execute_process(COMMAND ${GIT_EXECUTABLE} --no-optional-locks -C ${SOURCE_DIR} ${ARGN}
                  OUTPUT_VARIABLE output OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE status)
  if(NOT status EQUAL 0)
    set(output "")
  endif()
  set(${result} "${output}" PARENT_SCOPE)
endfunction()

set(DENOISED_SOURCE_REVISION unknown)
set(DENOISED_SOURCE_DATE "")
if(REVISION)
  set(DENOISED_SOURCE_REVISION ${REVISION})
elseif(GIT_EXECUTABLE)
  git(commit rev-parse --short=12 HEAD)
  git(top rev-parse --show-toplevel)
  file(REAL_PATH "${SOURCE_DIR}" source)
  if(NOT top STREQUAL source)  # sources that were unpacked in another repository
    set(commit "")
  endif()
  git(changes status --porcelain --untracked-files=no)
  if(commit)
    set(DENOISED_SOURCE_REVISION ${commit})
    git(DENOISED_SOURCE_DATE show --no-patch --format=%cs HEAD)
  endif()
  if(commit AND NOT changes STREQUAL "")
    string(APPEND DENOISED_SOURCE_REVISION -dirty)
  endif()
endif()
configure_file(${TEMPLATE} ${OUTPUT} @ONLY)
