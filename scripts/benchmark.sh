#!/usr/bin/env bash
# Measures denoised on this machine, against the marks it was built for: the engine against eager loops, then a server
# under load through gRPC, then what its step times mean for waiting. Nothing else should be running.
#
#   scripts/benchmark.sh [SECONDS]    how long each level of load counts, 10 unless given; about 40 times that in all
set -euo pipefail
# shellcheck source=common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

readonly bin=$root/build/release/bin
server='' crowd='' reloads=''
work=$(mktemp -d)

clean_up() {
  stop_ticker
  local each
  for each in $crowd $reloads $server; do kill -KILL "$each" 2>/dev/null || true; done
  rm -rf "$work"
}

configure_with_tests() { configure release -DDENOISED_BUILD_TESTS=ON; }

# metric NAME: its value, summed over labels.
metric() { curl -sf "$metrics" | awk -v name="$1" '{ split($1, a, "{") } a[1] == name { sum += $2 } END { printf "%.6f", sum }'; }

# CPU seconds of the server's threads beside the engine's: encoders, gRPC, HTTP.
other_cpu() {
  local ticks
  ticks=$(cat /proc/"$server"/task/*/stat | awk '$2 != "(scheduler)" && $2 != "(worker)" { sum += $14 + $15 } END { print sum + 0 }')
  calculate "$ticks / $(getconf CLK_TCK)"
}

# load STEPS CONCURRENCY SECONDS: requests for one digit each; sets images, and the CPU that each costs beside the engine.
load() {
  local cpu done_before
  cpu=$(other_cpu) done_before=$(metric denoised_images_total)
  "$bin/denoise" bench --server "$address" --sampler ddim --steps "$1" --concurrency "$2" --duration "$3" --warmup 2 \
    >"$work/bench.txt" 2>&1 || { show_log "$work/bench.txt"; die "The load did not run."; }
  images=$(calculate "$(metric denoised_images_total) - $done_before")
  cpu_ms_beside_engine=$(calculate "1000 * ($(other_cpu) - $cpu) / $images")
}

# latency CONCURRENCY COLUMN: of calls for 100 steps, in s. Columns of the bench's table: 6 is p50, 7 p95, 9 the longest.
latency() {
  "$bin/denoise" bench --server "$address" --sampler ddim --steps 100 --concurrency "$1" --duration "$seconds" \
    --warmup 1 >"$work/bench.txt" 2>&1 || { show_log "$work/bench.txt"; die "The load did not run."; }
  awk -v level="$1" -v column="$2" '$1 == level { print $column }' "$work/bench.txt"
}

# await_calls TEST: until the number of calls in flight passes, such as ">= 200".
await_calls() {
  until awk "BEGIN { exit !($(metric denoised_requests_in_flight) $1) }"; do
    kill -0 "$server" || die "The server has ended."
    if [[ -n $crowd ]] && ! kill -0 "$crowd" 2>/dev/null; then show_log "$work/crowd.txt"; die "The crowd has ended."; fi
    sleep 0.2
  done
}

reload_again_and_again() { while kill -HUP "$server" 2>/dev/null; do sleep 0.4; done; }

calculate() { awk "BEGIN { printf \"%.6f\", $1 }"; }

# mark TEXT VALUE OPERATOR LIMIT
mark() {
  local verdict=MISSED
  if [[ $(awk "BEGIN { print ($2 $3 $4) }") == 1 ]]; then verdict=met; fi
  printf '%-62s %9.3f  wanted %s %s: %s\n' "$1" "$2" "$3" "$4" "$verdict"
}

# times_request_level FILE REPLICAS: the 95th percentile at 80 % load, times that of request-level batches.
times_request_level() { awk -v replicas="$2" '$1 == replicas && $3 == "80%" { printf "%.6f", $5 / $NF }' "$1"; }

seconds=${1-10}
[[ $# -le 1 && $seconds =~ ^[1-9][0-9]*$ ]] || die "usage: scripts/benchmark.sh [SECONDS]    a whole number from 1"
command -v curl >/dev/null || die "curl is needed to read the server's metrics; scripts/setup.sh --tests installs it."
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

forget_other_servers
stage "Configuring" configure.log configure_with_tests
stage "Building" build.log build release
say
say "${bold}The engine, in turns with eager loops${plain}"
"$bin/engine_marks" | tee "$work/engine_marks.txt"

say
say "${bold}The scheduler with a long queue${plain}"
"$bin/scheduler_marks"

if [[ -x $bin/gpu_marks ]]; then
  say
  say "${bold}The GPU${plain}"
  "$bin/gpu_marks" || (($? == 77))
fi

say
say "${bold}A server under load${plain}"
start_and_await "$work/server.log" "$bin/denoised" --checkpoint="$root/models/mnist.pt" --device=auto --lame_duck=0 \
  --listen=localhost:0 --metrics_listen=127.0.0.1:0 --max_queued_images=1024
grep -oE 'engine: .*' "$work/server.log" || true
address=127.0.0.1:${address##*:}
few=() many=()
for _ in 1 2 3; do
  load 100 8 "$seconds"
  few+=("$(awk '$1 == 8 { print $4 }' "$work/bench.txt")")
  load 100 256 "$seconds"
  many+=("$(awk '$1 == 256 { print $4 }' "$work/bench.txt")")
done
median() { printf '%s\n' "$@" | sort -g | sed -n "$((($# + 1) / 2))p"; }
mark "100 steps: cost of an image at 256 in flight, times that at 8" \
  "$(calculate "$(median "${few[@]}") / $(median "${many[@]}")")" '<=' 1.10
load 1000 32 $((2 * seconds))
# Of the engine, a row's microseconds are an image's milliseconds: it has a thousand steps.
cpu_ms_in_engine=$(sed -nE 's/.*CPU us a row outside the network +([0-9.]+) .*/\1/p' "$work/engine_marks.txt")
printf '%-62s %9.3f\n' "1000 steps: CPU ms an image in the engine, outside the network" "$cpu_ms_in_engine" \
  "1000 steps: CPU ms an image for PNG, gRPC and HTTP" "$cpu_ms_beside_engine"
mark "1000 steps: CPU ms an image outside the network, both" "$(calculate "$cpu_ms_in_engine + $cpu_ms_beside_engine")" '<=' 2
load 20 64 "$seconds"
resident=$(metric process_resident_memory_bytes)
drawn=0
while awk "BEGIN { exit !($drawn < 10000) }"; do
  load 20 64 "$((3 * seconds))"
  drawn=$(calculate "$drawn + $images")
done
mark "20 steps: resident memory after $(printf %.0f "$drawn") requests, times before" \
  "$(calculate "$(metric process_resident_memory_bytes) / $resident")" '<=' 1.02

say
say "${bold}100 steps beside another client's 200 chains of 1000${plain}"
alone=() beside=() worst=()
for _ in 1 2 3; do
  alone+=("$(latency 1 6)")
  # Clients are told apart by their addresses; this machine has one by IPv6, too.
  "$bin/denoise" bench --server "[::1]:${address##*:}" --concurrency 200 --duration 100000 >"$work/crowd.txt" 2>&1 &
  crowd=$!
  await_calls ">= 200"
  beside+=("$(latency 1 6)")
  worst+=("$(awk '$1 == 1 { print $9 }' "$work/bench.txt")")
  kill -INT "$crowd"
  wait "$crowd" || true
  crowd=
  await_calls "== 0"
done
mark "median beside them, times alone" "$(calculate "$(median "${beside[@]}") / $(median "${alone[@]}")")" '<=' 4
mark "longest of all, times alone" \
  "$(calculate "$(printf '%s\n' "${worst[@]}" | sort -g | tail -1) / $(median "${alone[@]}")")" '<=' 4

say
say "${bold}Calls while the model is loaded again and again${plain}"
for concurrency in 1 8; do
  quiet=() reloading=()
  for _ in 1 2 3; do
    quiet+=("$(latency "$concurrency" 7)")
    reload_again_and_again &
    reloads=$!
    reloading+=("$(latency "$concurrency" 7)")
    kill "$reloads"
    wait "$reloads" 2>/dev/null || true
    reloads=
    sleep 2
  done
  mark "100 steps, $concurrency in flight: p95 meanwhile, times otherwise" \
    "$(calculate "$(median "${reloading[@]}") / $(median "${quiet[@]}")")" '<=' 2
done
printf '%-62s %9.0f\n' "reloads meanwhile" "$(metric denoised_model_reloads_total)"

say
say "${bold}What that means for waiting, simulated${plain}"
"$bin/denoised-capacity" --checkpoint "$root/models/mnist.pt" --replicas 1,100 --shares 0.5,0.8,0.95 \
  --out "$work/capacity.json" | sed '/^Figures/,$d' | tee "$work/same.txt"
"$bin/denoised-capacity" --step_times "$work/capacity.json" --steps 20,50,1000 --replicas 1,100 --shares 0.5,0.8,0.95 |
  tee "$work/mixed.txt"
say
for replicas in 1 100; do
  mark "1000 steps, $replicas replica(s), 80 % load: p95 times request-level's" \
    "$(times_request_level "$work/same.txt" $replicas)" '<=' 0.5
  mark "20, 50 or 1000 steps, $replicas replica(s), 80 % load: likewise" \
    "$(times_request_level "$work/mixed.txt" $replicas)" '<=' 0.5
done
