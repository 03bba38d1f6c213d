# Warnings for this project's own targets, never for generated code or dependencies: link denoised_warnings PRIVATE.
add_library(denoised_warnings INTERFACE)
target_compile_options(denoised_warnings INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wno-sign-conversion -Wnon-virtual-dtor -Woverloaded-virtual
  $<$<CXX_COMPILER_ID:Clang>:-Wthread-safety>
  $<$<BOOL:${DENOISED_WERROR}>:-Werror>)
# Random numbers and image arithmetic are compared bit for bit between machines and devices: no fused multiply-add
# that the source does not ask for.
target_compile_options(denoised_warnings INTERFACE -ffp-contract=off)
