#!/usr/bin/env bash
# Reads the code instead of running it: clang-format, ShellCheck, and clang-tidy on every file or on those that changed.
#
#   scripts/check.sh              every file; clang-tidy takes half an hour on two cores
#   scripts/check.sh --changed [SECONDS]
#                                 clang-tidy on what differs from DENOISED_BASE, or else from the main branch or the last
#                                 commit, whichever is further; after SECONDS it begins no other file, and says which are
#                                 left
#   scripts/check.sh FILE...      clang-tidy on these
#   scripts/check.sh --quick      no clang-tidy
#
# A tool that is not installed fails the check: scripts/setup.sh --checks installs them, on Debian 12.
set -euo pipefail
# shellcheck source=common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
cd "$root"

sources() { git ls-files '*.cc' '*.h' '*.cu'; }

need() { command -v "$1" >/dev/null || { echo "$1 is not installed; scripts/setup.sh --checks installs it on Debian 12"; return 1; }; }

check_format() { need clang-format-14 && sources | xargs clang-format-14 --dry-run -Werror; }

check_shell() { need shellcheck && git ls-files '*.sh' .ci/run 'deploy/debian/*' | xargs shellcheck --external-sources; }

# The commit that changes are counted from.
base() {
  local commit
  for commit in "${DENOISED_BASE-}" origin/main; do
    if [[ $commit ]] && commit=$(git merge-base HEAD "$commit" 2>/dev/null) && [[ $commit != $(git rev-parse HEAD) ]]; then
      echo "$commit"
      return
    fi
  done
  git rev-parse --verify --quiet HEAD~1 || git rev-parse HEAD
}

# clang-tidy reads the commands of a build without precompiled headers, which GCC makes and Clang cannot read. Files that
# this machine does not compile have none, which a line says.
tidy_sources() {
  local file
  while read -r file; do
    if grep -qF "\"$root/$file\"" build/tidy/compile_commands.json; then
      echo "$file"
    else
      echo "Not read by clang-tidy, as it is not compiled here: $file" >&2
    fi
  done < <(grep '\.cc$' || true)
}

# tidy_file DEADLINE FILE: a file a process, so that two cores have as many.
tidy_file() {
  if (($1 > 0 && EPOCHSECONDS >= $1)); then
    echo "Not read by clang-tidy for want of time: $2"
    return
  fi
  clang-tidy-14 --quiet -p build/tidy --extra-arg-before=-include --extra-arg-before="$root/cmake/tidy_prelude.h" "$2"
}
export -f tidy_file
export root

# check_tidy DEADLINE FILE...: DEADLINE in seconds since 1970; 0: none.
check_tidy() {
  local deadline=$1
  shift
  need clang-tidy-14 || return 1
  cmake -S . -B build/tidy -G Ninja -DCMAKE_EXPORT_COMPILE_COMMANDS=ON -DDENOISED_PRECOMPILED_HEADERS=OFF -DDENOISED_CUDA=OFF &&
    cmake --build build/tidy --target denoised_proto denoised_support || return 1
  # shellcheck disable=SC2016 # expanded by the shell that xargs starts
  printf '%s\n' "$@" | tidy_sources | xargs --no-run-if-empty --max-procs="$(build_jobs)" --max-args=1 \
    bash -c 'tidy_file "$@"' bash "$deadline"
}

deadline=0
case ${1-} in
  '') mapfile -t files < <(sources) ;;
  --quick) files=() ;;
  --changed)
    [[ ${2-} =~ ^([1-9][0-9]{0,5})?$ ]] || die "--changed takes seconds, for example --changed 600, or none."
    mapfile -t files < <(git diff --name-only --diff-filter=d "$(base)" -- '*.cc')
    if [[ ${2-} ]]; then deadline=$((EPOCHSECONDS + $2)); fi
    ;;
  -*) die "usage: scripts/check.sh [--quick | --changed [SECONDS] | FILE...]" ;;
  *)
    for file; do [[ -f $file ]] || die "There is no file $file in $root."; done
    mapfile -t files < <(realpath --relative-to="$root" "$@")
    ;;
esac

failed=0
stage "clang-format" check-format.log check_format || failed=1
stage "ShellCheck" check-shell.log check_shell || failed=1
if [[ ${1-} != --quick ]]; then
  stage "clang-tidy" check-tidy.log check_tidy "$deadline" "${files[@]}" || failed=1
  grep '^Not read' "$logs/check-tidy.log" || true
fi
((failed == 0))
