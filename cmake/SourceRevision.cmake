# The git revision, for build_info and checkpoints. Read at configure time.
set(DENOISED_SOURCE_REVISION "unknown")
find_package(Git QUIET)
if(Git_FOUND)
  execute_process(COMMAND ${GIT_EXECUTABLE} -C ${CMAKE_CURRENT_SOURCE_DIR} rev-parse --short=12 HEAD
                  OUTPUT_VARIABLE denoised_revision OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET
                  RESULT_VARIABLE denoised_revision_result)
  if(denoised_revision_result EQUAL 0)
    set(DENOISED_SOURCE_REVISION ${denoised_revision})
  endif()
endif()
