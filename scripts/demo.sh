#!/usr/bin/env bash
# Builds denoised, starts it with the shipped checkpoint, draws a digit through gRPC and shows it.
#
#   scripts/demo.sh [DIGIT]    0 to 9, or else 7; leaves digit-DIGIT.png in the current folder
set -euo pipefail
# shellcheck source=common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

readonly start_seconds=120
readonly stop_seconds=30
server=
server_log=$logs/server.log

clean_up() {
  local status=$?
  stop_ticker
  if [[ -n $server ]]; then
    kill -KILL "$server" 2>/dev/null || true
    wait "$server" 2>/dev/null || true
    if ((status != 0 && status != 130 && status != 143)); then show_log "$server_log"; fi
  fi
}

# Without the tests unless the build folder has them already: a demo needs no GoogleTest.
configure_once() {
  [[ -f $root/build/release/build.ninja ]] || configure release -DDENOISED_BUILD_TESTS=OFF
}

# The log is emptied here, not by the server's own shell: until that runs, an earlier run's log would tell its address.
start_server() {
  : >"$server_log"
  "$root/build/release/bin/denoised" --checkpoint="$root/models/mnist.pt" --device=auto --lame_duck=0 \
    --listen=127.0.0.1:0 --metrics_listen=127.0.0.1:0 >"$server_log" 2>&1 </dev/null &
  server=$!
}

# The server says where it listens once it is healthy: the model is loaded and warm.
server_address() { sed -nE 's/.*listening on (127\.0\.0\.1:[0-9]+).*/\1/p' "$server_log" | head -n 1; }

wait_for_server() {
  local deadline=$((SECONDS + start_seconds))
  until [[ $(server_address) ]]; do
    kill -0 "$server" 2>/dev/null || { echo "the server ended while it started"; return 1; }
    ((SECONDS < deadline)) || { echo "the server was not ready within $start_seconds s"; return 1; }
    sleep 0.2
  done
}

stop_server() {
  local status=0 deadline=$((SECONDS + stop_seconds))
  kill -TERM "$server"
  while kill -0 "$server" 2>/dev/null && ((SECONDS < deadline)); do sleep 0.1; done
  ! kill -0 "$server" 2>/dev/null || die "The server did not stop within $stop_seconds s of SIGTERM."
  wait "$server" || status=$?
  ((status == 0)) || die "The server ended with exit code $status."
  server=
}

digit=${1-7}
[[ $# -le 1 && $digit =~ ^[0-9]$ ]] || die "usage: scripts/demo.sh [DIGIT]    with a digit from 0 to 9"
picture=$PWD/digit-$digit.png
[[ -w $PWD ]] || die "This folder, $PWD, cannot be written to, and the picture is to be left in it. Run the demo from another one."

trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

forget_other_servers
"$root/scripts/setup.sh"
stage "Configuring" configure.log configure_once
stage "Building" build.log build release --target denoised denoise
start_server
stage "Starting the server" start.log wait_for_server
say
say "${bold}denoise $digit --server $(server_address)${plain}"
"$root/build/release/bin/denoise" "$digit" --server "$(server_address)" --out "$picture" --picture=always
stop_server
say
say "The picture is $picture"
