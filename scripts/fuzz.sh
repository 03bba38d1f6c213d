#!/usr/bin/env bash
# Fuzzes what reads bytes from strangers, by libFuzzer with AddressSanitizer and UndefinedBehaviorSanitizer.
#
#   scripts/fuzz.sh                       every target of tests/fuzz for 60 s
#   scripts/fuzz.sh 3600                  for an hour each
#   scripts/fuzz.sh SECONDS TARGET...     these, for example: scripts/fuzz.sh 600 http metadata
#
# Inputs that reach new code are kept in build/fuzz/corpus and are where the next run begins. What fails is kept in
# build/fuzz/findings: mend it, with a unit test, and move the input to tests/fuzz/corpus/TARGET.
set -euo pipefail
# shellcheck source=common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

targets() { (cd "$root/tests/fuzz" && printf '%s\n' *_fuzzer.cc | sed 's/_fuzzer\.cc$//'); }

# The first Clang that can link a fuzzer: its runtime is a package of its own.
fuzzing_compiler() {
  local compiler
  for compiler in ${CXX-} clang++ clang++-{14,16,18,19,20}; do
    if command -v "$compiler" >/dev/null && echo 'extern "C" int LLVMFuzzerTestOneInput(const char *, unsigned long) { return 0; }' |
      "$compiler" -fsanitize=fuzzer,address -x c++ - -o /dev/null 2>/dev/null; then
      echo "$compiler"
      return
    fi
  done
  die "There is no Clang with libFuzzer here. scripts/setup.sh --checks installs it on Debian 12: clang-14 and libclang-rt-14-dev."
}

# LeakSanitizer traces its own process, which some containers forbid.
leaks() {
  local flag=0
  if "$root/build/fuzz/bin/http_fuzzer" -runs=1 -detect_leaks=1 >/dev/null 2>&1; then flag=1; fi
  echo "$flag"
}

# fuzz TARGET SECONDS: 4 KiB inputs are enough for everything, and fast.
fuzz() {
  local target=$1 seconds=$2 corpus=$root/build/fuzz/corpus/$1 findings=$root/build/fuzz/findings dictionary=()
  mkdir -p "$corpus" "$findings"
  if [[ -e $root/tests/fuzz/$target.dict ]]; then dictionary=("-dict=$root/tests/fuzz/$target.dict"); fi
  ASAN_OPTIONS=allocator_may_return_null=1 UBSAN_OPTIONS=print_stacktrace=1 \
    "$root/build/fuzz/bin/${target}_fuzzer" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=4096 \
    -detect_leaks="$detect_leaks" -artifact_prefix="$findings/$target-" -print_final_stats=1 "${dictionary[@]}" \
    "$corpus" "$root/tests/fuzz/corpus/$target"
}

# The last "#123 DONE cov: 4 ft: 5 corp: ..." of a run, in short.
summary() { sed -nE 's/^#([0-9]+)[ \t]+DONE +cov: ([0-9]+).*/  \1 inputs, \2 edges reached/p' "$logs/fuzz-$1.log"; }

seconds=${1:-60}
[[ $seconds =~ ^[1-9][0-9]*$ ]] || die "usage: scripts/fuzz.sh [SECONDS [TARGET...]]    a whole number from 1"
mapfile -t chosen < <(if (($# > 1)); then printf '%s\n' "${@:2}"; else targets; fi)
for target in "${chosen[@]}"; do
  [[ -e $root/tests/fuzz/${target}_fuzzer.cc ]] || die "There is no target $target. Targets: $(targets | paste -sd ' ')"
done

trap stop_ticker EXIT
compiler=$(fuzzing_compiler)
stage "Configuring, fuzzers" configure-fuzz.log configure fuzz -DCMAKE_CXX_COMPILER="$compiler" -DDENOISED_BUILD_TESTS=ON
stage "Building, fuzzers" build-fuzz.log build fuzz
detect_leaks=$(leaks)
failed=0
for target in "${chosen[@]}"; do
  stage "Fuzzing $target, $seconds s" "fuzz-$target.log" fuzz "$target" "$seconds" || failed=1
  summary "$target"
done
((failed == 0)) || say "What failed is in build/fuzz/findings; run it again with build/fuzz/bin/TARGET_fuzzer FILE."
((failed == 0))
