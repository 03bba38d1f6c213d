#!/usr/bin/env bash
# Runs the tests.
#
#   scripts/test.sh                     every test: the release build's, then those of the parts without gRPC and LibTorch
#                                       under ThreadSanitizer
#   scripts/test.sh ROOM                those of a room and the rooms in it, for example server or common/image
#   scripts/test.sh CTEST-OPTION...     what ctest's options choose, for example -R Scheduler
#   scripts/test.sh --all               every test, those of the container image too, with warnings as errors, and
#                                       scripts/check.sh before them; then the tests of all but the trainer again under
#                                       AddressSanitizer and UndefinedBehaviorSanitizer, and a minute of scripts/fuzz.sh
#                                       for each target. One and a half to three hours on two cores
#   scripts/test.sh --within MINUTES    as --all, but clang-tidy for an eighth of that, and image, AddressSanitizer and
#                                       fuzzing only as far as they will have ended by then, judged by how long this
#                                       machine took to build
#
# What a test needs and this machine has not leaves it out: at the end it is said how many, why, and what brings it.
set -euo pipefail
# shellcheck source=common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

clean_up() {
  stop_ticker
  ((${#stage_times[@]} > 0)) || return 0
  tell_skipped
  say
  stage_table
  say "Logs: $logs"
}

# ctest's report without what passed, in lines of at most 100 columns: ctest pads each line to the longest name.
shorten() {
  awk '/^ *Start +[0-9]+: / || / Passed +[0-9.]+ sec *$/ { next }
       { gsub(/ ?\.\.\.\.+/, " ..."); if (length($0) > 100 && $0 ~ /Test +#/) $0 = substr($0, 1, 74) "... " substr($0, length($0) - 20)
         print; fflush() }'
}

# note_skipped CTEST-LOG: a line for each test that was left out, the reason and then its name.
note_skipped() {
  [[ ! -e $1 ]] ||
    awk '/^[0-9]+\/[0-9]+ Testing: / { test = $3 }
         reason { sub(/:$/, ""); print $0 "\t" test }
         { reason = /:[0-9]+: Skipped$/ }' "$1" >>"$skipped"
}

# Under each reason, which names what brings what is missing: how many tests.
tell_skipped() {
  [[ -s $skipped ]] || return 0
  say
  say "${bold}Tests skipped: $(cut -f 2 "$skipped" | sort -u | wc -l)${plain}"
  sort -u "$skipped" | cut -f 1 | uniq -c | sort -k 1,1nr
}

# run_tests TITLE PRESET [CTEST-OPTION...]: all output in the log; here what failed or was skipped, and the closing lines.
run_tests() {
  local name=$1 preset=$2 begin=$SECONDS status=0
  local ctest_log=$root/build/$preset/Testing/Temporary/LastTest.log
  shift 2
  say "${bold}$name${plain}"
  rm -f "$ctest_log"
  (cd "$root" && "${without_aslr[@]}" ctest --preset "$preset" --parallel "$(nproc)" "$@") </dev/null 2>&1 |
    tee "$logs/ctest-$preset.log" | shorten || status=$?
  note_skipped "$ctest_log"
  title "$name"
  end_stage "$name" "$begin" "$status"
  return "$status"
}

# targets_of ROOM: the test binaries of a room and of the rooms in it.
targets_of() {
  find "$root/tests/$1" -name CMakeLists.txt -exec sed -nE 's/^denoised_add_tests\(([a-z0-9_]+).*/\1_tests/p' {} +
}

# test_room ROOM
test_room() {
  local room=${1%/} targets
  mapfile -t targets < <(targets_of "$room")
  "$root/scripts/setup.sh" --tests
  stage "Configuring" configure.log configure release -DDENOISED_BUILD_TESTS=ON
  stage "Building ${room}'s tests" build.log build release --target "${targets[@]}"
  run_tests "Tests of $room" release --label-regex "^$room(/|\$)"
}

# LeakSanitizer traces its own process, which some containers forbid.
look_for_leaks_if_possible() {
  ASAN_OPTIONS=detect_leaks=1 "$root/build/asan/bin/support_tests" --gtest_list_tests >/dev/null 2>&1 && return
  say "LeakSanitizer cannot run here: leaks are not looked for. In a container it needs --cap-add SYS_PTRACE."
  export DENOISED_ASAN_OPTIONS=detect_leaks=0
}

test_under_tsan() {
  stage "Configuring, ThreadSanitizer" configure-tsan.log configure tsan -DDENOISED_BUILD_TESTS=ON &&
    stage "Building, ThreadSanitizer" build-tsan.log build tsan &&
    run_tests "Tests, ThreadSanitizer" tsan "${filter[@]}"
}

# What strangers reach. Not the trainer, nor again what other programs do, or files say: scripts, YAML, examples in other
# languages, the page in a browser.
test_under_asan() {
  local room targets=(denoised_fuzzers)
  local -r rooms=(chaos client common fuzz proto server trainer/data)
  for room in "${rooms[@]}"; do mapfile -t -O ${#targets[@]} targets < <(targets_of "$room"); done
  stage "Configuring, AddressSanitizer" configure-asan.log configure asan -DDENOISED_BUILD_TESTS=ON &&
    stage "Building, AddressSanitizer" build-asan.log build asan --target "${targets[@]}" &&
    look_for_leaks_if_possible &&
    run_tests "Tests, AddressSanitizer" asan --label-regex "^($(IFS='|' && echo "${rooms[*]}"))(/|\$)" "${filter[@]}"
}

# time_for TITLE SECONDS: whether as much is left of --within's minutes, or else says that TITLE is left out.
time_for() {
  local left
  [[ $within ]] || return 0
  left=$((within * 60 - SECONDS))
  (($2 > left)) || return 0
  say "$1: left out. It would take about $2 s here, and $left s of $within minutes are left. scripts/test.sh --all has it."
  return 1
}

# Without root or the tools there is no image to test, which is said.
test_image() {
  if ! "$root/scripts/setup.sh" --image || ! "$root/scripts/image.sh"; then
    say "The container image is neither built nor tested."
    return
  fi
  run_tests "Tests of the image" release --label-regex '^image$' "${filter[@]}"
}

# Clang 14 is what scripts/setup.sh --checks installs; elsewhere than on Debian 12 there may be none.
fuzz_if_possible() {
  if command -v clang++-14 >/dev/null; then
    "$root/scripts/fuzz.sh" 60
  else
    say "Without clang++-14 nothing is fuzzed."
  fi
}

trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# ThreadSanitizer of GCC 12 and 13 cannot start where newer kernels scatter addresses widely.
without_aslr=(env)
if setarch --addr-no-randomize true 2>/dev/null; then without_aslr=(setarch --addr-no-randomize); fi

skipped=$logs/skipped.txt
mkdir -p "$logs"
: >"$skipped"
all='' within='' werror=OFF failed=0 later=()
case ${1-} in
  --all) all=1 werror=ON && shift ;;
  --within)
    [[ ${2-} =~ ^[1-9][0-9]{0,3}$ ]] || die "--within takes minutes, for example --within 90."
    all=1 werror=ON within=$2 && shift 2
    ;;
  -* | '') ;;
  *)
    [[ -d $root/tests/$1 && $(targets_of "$1") ]] ||
      die "There is no room $1 with tests. Rooms: $(cd "$root/tests" && find . -name CMakeLists.txt -exec grep -l denoised_add_tests {} + | sed -E 's|^\./(.*)/CMakeLists.txt|\1|' | sort | paste -sd ' ')"
    test_room "$1"
    exit
    ;;
esac

# A filter that leaves no test for a sanitizer is no failure.
filter=("$@")
if (($# > 0)); then filter+=(--no-tests=ignore); fi
if [[ $all ]]; then later=(--label-exclude '^image$'); fi

if [[ $all ]]; then
  "$root/scripts/setup.sh" --tests --checks --packages
  "$root/scripts/setup.sh" --deploy || say "Without Prometheus and Go's modules, some of what tests/deploy does is left out."
  # 3 minutes, to try rules and dashboard with version 3 besides 2.
  [[ $within ]] || "$root/scripts/setup.sh" --prometheus3 || say "Without Prometheus 3, rules and dashboard are tried with version 2 alone."
  "$root/scripts/setup.sh" --page || say "Without Chromium, Node.js and npm's packages, the page is not tested."
  "$root/scripts/setup.sh" --tensorboard || say "Without TensorBoard, it is not shown that it reads the trainer's event files."
  "$root/scripts/setup.sh" --opentelemetry || say "Without OpenTelemetry's messages, it is not shown that they read the server's spans."
  "$root/scripts/setup.sh" --second-opinion || say "Without what PyPI has for it, scripts/second_opinion.py is not tested."
  "$root/scripts/setup.sh" --cuda || say "Without the CUDA compiler, its kernel and the tests that need it are left out."
  stage_times+=("$(table_row Packages ok "$SECONDS")")
  begin=$SECONDS built=ok
  "$root/scripts/setup.sh" --examples || built=failed
  [[ $built == ok ]] || say "The examples that could not be built are not tested."
  stage_times+=("$(table_row Examples "$built" $((SECONDS - begin)))")
  "$root/scripts/check.sh" --changed ${within:+$((within * 60 / 8))} || failed=1
else
  "$root/scripts/setup.sh" --tests
  stage_times+=("$(table_row Packages ok "$SECONDS")")
fi
stage "Configuring" configure.log configure release -DDENOISED_BUILD_TESTS=ON -DDENOISED_WERROR=$werror
build_begin=$SECONDS
stage "Building" build.log build release
build_time=$((SECONDS - build_begin))
run_tests "Tests" release "${later[@]}" "$@" || failed=1
test_under_tsan || failed=1
if [[ $all ]]; then
  if time_for "The container image" $((build_time / 2)); then test_image || failed=1; fi
  if time_for "AddressSanitizer" $((build_time * 3 / 2)); then test_under_asan || failed=1; fi
  if time_for "Fuzzing" 900; then fuzz_if_possible || failed=1; fi
fi
((failed == 0))
