# shellcheck shell=bash
# What the scripts share: stages with a line each, their logs, configuring and building. Sourced, not run.

# What the scripts read of other programs, and what awk and printf take for a number, is English everywhere.
export LC_ALL=C.UTF-8
unset LANGUAGE

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
logs=$root/build/logs
readonly root logs
stage_times=()
ticker=

if [[ -t 1 && -z ${NO_COLOR-} ]]; then
  bold=$'\e[1m' dim=$'\e[2m' red=$'\e[31m' green=$'\e[32m' plain=$'\e[0m'
else
  bold='' dim='' red='' green='' plain=''
fi

say() { printf '%s\n' "$*"; }

die() {
  printf '%s%s%s\n' "$red" "$*" "$plain" >&2
  exit 1
}

title() { printf '%s%-34s%s' "$bold" "$1" "$plain"; }

# How far the running stage is: ninja's [5/90] where its log has one.
tick() {
  local log=$2 begin=$SECONDS progress
  while sleep 1 && kill -0 $$ 2>/dev/null; do
    progress=$(tail -n 1 "$log" 2>/dev/null | grep -oE '^\[[0-9]+/[0-9]+\]') || progress=
    printf '\r%s%s%s %d s%s ' "$(title "$1")" "$dim" "$progress" $((SECONDS - begin)) "$plain"
  done
}

stop_ticker() {
  if [[ $ticker ]]; then
    kill "$ticker" 2>/dev/null || true
    wait "$ticker" 2>/dev/null || true
  fi
  ticker=
}

# The part of a log that tells why a stage failed: the first failed build step, or else the end.
show_log() {
  printf '%s--- %s%s\n' "$dim" "$1" "$plain"
  if grep -q '^FAILED:' "$1"; then
    awk '/^FAILED:/ { found = 1 } found && ++lines <= 60' "$1"
  else
    tail -n 60 "$1"
  fi
} >&2

# A compiler says it somewhere in the middle.
tell_full_disk() {
  grep -q 'No space left on device' "$1" || return 0
  printf '%sThe disk is full: %s\n' "$red" "$(df -h --output=avail,target "$logs" "${TMPDIR:-/tmp}" | sed 1d | awk '{ print $1 " free on " $2 }' | sort -u | paste -sd , | sed 's/,/, /')"
  printf 'Free some, then try again: what is built already stays. With the tests a build takes 5 GB, without 2 GB.%s\n' "$plain"
} >&2

# stage TITLE LOG COMMAND...: runs COMMAND with its output in LOG, and shows the log only if it fails.
stage() {
  local name=$1 log=$logs/$2 begin=$SECONDS status=0
  shift 2
  mkdir -p "$logs"
  : >"$log"
  title "$name"
  if [[ -t 1 ]]; then
    tick "$name" "$log" &
    ticker=$!
  fi
  "$@" >"$log" 2>&1 </dev/null || status=$?
  stop_ticker
  [[ ! -t 1 ]] || printf '\r\e[K%s' "$(title "$name")"
  end_stage "$name" "$begin" "$status"
  if ((status != 0)); then
    show_log "$log"
    tell_full_disk "$log"
  fi
  return "$status"
}

# end_stage TITLE BEGIN STATUS: closes a stage's line and keeps its time for stage_table.
end_stage() {
  local seconds=$((SECONDS - $2)) verdict=ok colour=$green
  if (($3 != 0)); then verdict=failed colour=$red; fi
  printf '%s%-6s%s %5d s\n' "$colour" "$verdict" "$plain" "$seconds"
  stage_times+=("$(table_row "$1" "$verdict" "$seconds")")
}

table_row() { printf '%-34s%-6s %5d s' "$@"; }

stage_table() { printf '%s\n' "${stage_times[@]}" "$(table_row total '' "$SECONDS")"; }

# Compilers at a time: one per core, and 2 GB of free memory for each, because a file with LibTorch's headers takes that.
build_jobs() {
  local cores kib limit jobs
  cores=$(nproc)
  kib=$(awk '/^MemAvailable:/ { print $2 }' /proc/meminfo 2>/dev/null) || kib=
  [[ -n $kib ]] || kib=$((cores * 2000000))
  limit=$(cat /sys/fs/cgroup/memory.max 2>/dev/null) || limit=max
  if [[ $limit != max ]] && ((limit / 1024 < kib)); then kib=$((limit / 1024)); fi
  jobs=$((kib / 2000000))
  if ((jobs > cores)); then jobs=$cores; fi
  if ((jobs < 1)); then jobs=1; fi
  echo "$jobs"
}

# configure PRESET [OPTION...]. ccache, where it is installed, also finds what another clone of this tree has compiled.
configure() {
  local preset=$1
  shift
  if [[ -z ${CMAKE_CXX_COMPILER_LAUNCHER-} ]] && command -v ccache >/dev/null; then
    export CMAKE_CXX_COMPILER_LAUNCHER=ccache
  fi
  (cd "$root" && cmake --preset "$preset" "$@")
}

# build PRESET [OPTION...]
build() {
  local preset=$1
  shift
  export CCACHE_BASEDIR=$root CCACHE_NOHASHDIR=1 CCACHE_SLOPPINESS=pch_defines,time_macros
  export CMAKE_BUILD_PARALLEL_LEVEL=${CMAKE_BUILD_PARALLEL_LEVEL:-$(build_jobs)}
  (cd "$root" && cmake --build --preset "$preset" "$@")
}

# Of the environment and of the user's own settings, nothing that is meant for another server, or for the way there: for
# whoever starts a server and calls it.
forget_other_servers() {
  unset "${!DENOISE@}"
  export DENOISE_CONFIG=/dev/null no_grpc_proxy=127.0.0.1,localhost
}

# start_and_await LOG COMMAND...: a denoised in the background, with its output in LOG, and waits until it serves. Sets
# server, its process; address; and metrics, the URL of that page.
start_and_await() {
  local log=$1 deadline=$((SECONDS + 120))
  shift
  "$@" >"$log" 2>&1 </dev/null &
  server=$!
  until grep -q 'metrics on' "$log"; do
    kill -0 "$server" 2>/dev/null || { show_log "$log"; say "The server did not start."; return 1; }
    ((SECONDS < deadline)) || { say "The server was not ready within 120 s."; return 1; }
    sleep 0.2
  done
  # shellcheck disable=SC2034 # for whoever calls
  address=$(sed -nE 's/.*listening on ([^ ]+).*/\1/p' "$log" | head -n 1)
  # shellcheck disable=SC2034
  metrics=$(sed -nE 's/.*metrics on ([^ ]+).*/\1/p' "$log" | head -n 1)
}
