#!/usr/bin/env bash
# Runs every test: the release build's, then those of the parts without gRPC and LibTorch under ThreadSanitizer.
#
#   scripts/test.sh [CTEST-OPTION...]    for example -R scheduler
set -euo pipefail
# shellcheck source=common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

clean_up() {
  stop_ticker
  ((${#stage_times[@]} > 0)) || return 0
  say
  stage_table
  say "Logs: $logs"
}

# run_tests TITLE PRESET [CTEST-OPTION...]: all output in the log; here what failed, and the closing lines.
run_tests() {
  local name=$1 preset=$2 begin=$SECONDS status=0
  shift 2
  say "${bold}$name${plain}"
  (cd "$root" && "${without_aslr[@]}" ctest --preset "$preset" --parallel "$(nproc)" "$@") </dev/null 2>&1 | tee "$logs/ctest-$preset.log" |
    grep --line-buffered -vE '^ *Start +[0-9]+: | Passed +[0-9.]+ sec$' || status=$?
  title "$name"
  end_stage "$name" "$begin" "$status"
  return "$status"
}

trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# ThreadSanitizer of GCC 12 and 13 cannot start where newer kernels scatter addresses widely.
without_aslr=(env)
if setarch --addr-no-randomize true 2>/dev/null; then without_aslr=(setarch --addr-no-randomize); fi

# A filter that leaves no test for ThreadSanitizer is no failure.
tsan_options=("$@")
if (($# > 0)); then tsan_options+=(--no-tests=ignore); fi

"$root/scripts/setup.sh" --tests
stage_times+=("$(table_row Packages ok "$SECONDS")")
stage "Configuring" configure.log configure release -DDENOISED_BUILD_TESTS=ON
stage "Building" build.log build release
failed=0
run_tests "Tests" release "$@" || failed=1
stage "Configuring, ThreadSanitizer" configure-tsan.log configure tsan -DDENOISED_BUILD_TESTS=ON
stage "Building, ThreadSanitizer" build-tsan.log build tsan
run_tests "Tests, ThreadSanitizer" tsan "${tsan_options[@]}" || failed=1
((failed == 0))
