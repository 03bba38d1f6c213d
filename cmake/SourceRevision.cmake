# denoised_add_source_revision(<target> <template>)
#
# Adds <template>, which ends in .cc.in, to the sources of <target> with @DENOISED_SOURCE_REVISION@ and
# @DENOISED_SOURCE_DATE@ filled in. git is
# asked at every build, but the file is written only when the answer changed: a commit recompiles that one file.
find_package(Git QUIET)
set(DENOISED_REVISION "" CACHE STRING "The commit, where the sources come without git")

function(denoised_add_source_revision target template)
  cmake_path(GET template STEM LAST_ONLY name)
  set(output ${CMAKE_CURRENT_BINARY_DIR}/${name})
  add_custom_target(${target}_source_revision
    COMMAND ${CMAKE_COMMAND}
            -DGIT_EXECUTABLE=${GIT_EXECUTABLE}
            -DSOURCE_DIR=${PROJECT_SOURCE_DIR}
            -DTEMPLATE=${CMAKE_CURRENT_SOURCE_DIR}/${template}
            -DOUTPUT=${output}
            -DREVISION=${DENOISED_REVISION}
            -P ${PROJECT_SOURCE_DIR}/cmake/WriteSourceRevision.cmake
    BYPRODUCTS ${output}
    COMMENT "Asking git for the source revision"
    VERBATIM)
  target_sources(${target} PRIVATE ${output})
  add_dependencies(${target} ${target}_source_revision)
endfunction()
