#!/usr/bin/env bash
# run_and_match.sh PATTERN PROGRAM [ARGUMENT...]: passes a program's output on and ends as it does, or with 1 if it
# succeeds and its output does not match. CTest's own PASS_REGULAR_EXPRESSION forgets how the program ended.
set -uo pipefail
output=$("${@:2}" 2>&1)
status=$?
printf '%s\n' "$output"
((status == 0)) || exit "$status"
grep -Ezq -- "$1" <<<"$output" && exit
echo "run_and_match.sh: nothing matches: $1"
exit 1
