# Warnings for this project's own targets, never for generated code or dependencies: link denoised_warnings PRIVATE.
add_library(denoised_warnings INTERFACE)
target_compile_options(denoised_warnings INTERFACE
  "$<$<COMPILE_LANGUAGE:CXX>:-Wall;-Wextra;-Wpedantic;-Wshadow;-Wconversion;-Wno-sign-conversion>"
  "$<$<COMPILE_LANGUAGE:CXX>:-Wnon-virtual-dtor;-Woverloaded-virtual>"
  $<$<COMPILE_LANG_AND_ID:CXX,Clang>:-Wthread-safety>
  $<$<AND:$<COMPILE_LANGUAGE:CXX>,$<BOOL:${DENOISED_WERROR}>>:-Werror>)
# GCC 12 to 14 see copies out of bounds in inlined code of the standard library where there are none (bug 105651 of GCC).
target_compile_options(denoised_warnings INTERFACE
  $<$<COMPILE_LANG_AND_ID:CXX,GNU>:-Wno-restrict>
  "$<$<AND:$<COMPILE_LANG_AND_ID:CXX,GNU>,$<BOOL:${DENOISED_WERROR}>>:-Wno-error=array-bounds;-Wno-error=stringop-overflow>")
# Random numbers and image arithmetic are compared bit for bit between machines and devices: no fused multiply-add
# that the source does not ask for.
target_compile_options(denoised_warnings INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-ffp-contract=off>)

# For files of loops over numbers: nobody reads errno or traps here, and with either a loop with a square root is no
# vector code.
set(DENOISED_VECTOR_OPTIONS "-O3;-fno-math-errno;-fno-trapping-math")

# For files of flags and messages, which run once: CLI11's templates take twice as long to compile at -O3. Headers that
# were precompiled for -O3 do not fit them.
set(DENOISED_QUICK_PROPERTIES COMPILE_OPTIONS "$<$<CONFIG:Release>:-O1>" SKIP_PRECOMPILE_HEADERS ON)

# For tests: what takes long is in what they test, and GoogleTest's templates take twice as long to compile at -O3.
set(DENOISED_TEST_OPTIONS -O0)
