# denoised_add_tsan_mutex(<target>)
#
# <target> tells ThreadSanitizer what absl::Mutex orders: see tsan_absl_mutex.cc. There is no such target where the
# functions to wrap are not found.

# The symbols that a use of the functions asks the linker for. Their names hold Abseil's inline namespace, which each
# distribution chooses, and in newer versions Await and AwaitWithTimeout are inline and ask for AwaitCommon.
function(denoised_mutex_symbols result)
  set(folder ${PROJECT_BINARY_DIR}/tsan_absl_mutex)
  file(WRITE ${folder}/uses.cc
    "#include \"absl/synchronization/mutex.h\"\n"
    "void Use(absl::Mutex& mutex, const absl::Condition& condition) {\n"
    "  mutex.Lock();\n  mutex.Await(condition);\n  mutex.AwaitWithTimeout(condition, {});\n  mutex.Unlock();\n}\n")
  set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY) # nothing is linked
  try_compile(compiled ${folder} ${folder}/uses.cc
              LINK_LIBRARIES absl::synchronization CXX_STANDARD 20 COPY_FILE ${folder}/uses.a)
  set(symbols "")
  if(compiled)
    execute_process(COMMAND ${CMAKE_NM} --undefined-only ${folder}/uses.a OUTPUT_VARIABLE symbols ERROR_QUIET)
  endif()
  set(${result} "${symbols}" PARENT_SCOPE)
endfunction()

function(denoised_add_tsan_mutex target)
  denoised_mutex_symbols(symbols)
  set(mutex _ZN4absl[0-9A-Za-z_]*5Mutex)
  set(condition ERKNS[0-9]?_9ConditionE)
  set(timeout NS[0-9]?_24synchronization_internal13KernelTimeoutE)
  string(REGEX MATCH "${mutex}4[Ll]ockEv" lock "${symbols}")
  string(REGEX MATCH "${mutex}6[Uu]nlockEv" unlock "${symbols}")
  string(REGEX MATCH "${mutex}(5Await${condition}|11AwaitCommon${condition}${timeout})" await "${symbols}")
  if(NOT lock OR NOT unlock OR NOT await)
    message(STATUS "ThreadSanitizer may report races that absl::Mutex rules out: this Abseil has no Lock, Unlock and "
                   "Await of the kind that cmake/tsan_absl_mutex.cc wraps")
    return()
  endif()
  string(REGEX MATCH "${mutex}16AwaitWithTimeout${condition}NS[0-9]?_8DurationE" await_with_timeout "${symbols}")
  add_library(${target} OBJECT ${PROJECT_SOURCE_DIR}/cmake/tsan_absl_mutex.cc)
  target_compile_definitions(${target} PRIVATE MUTEX_LOCK=${lock} MUTEX_UNLOCK=${unlock} MUTEX_AWAIT=${await})
  target_link_options(${target} INTERFACE
    LINKER:--wrap=${lock} LINKER:--wrap=${unlock} LINKER:--wrap=${await})
  if(await_with_timeout)
    target_compile_definitions(${target} PRIVATE MUTEX_AWAIT_WITH_TIMEOUT=${await_with_timeout})
    target_link_options(${target} INTERFACE LINKER:--wrap=${await_with_timeout})
  endif()
endfunction()
