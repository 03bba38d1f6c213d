#!/usr/bin/env bash
# Draws a handwritten digit with grpcurl and jq: draw.sh 7 --seed 42
#
# The API comes from the server, by reflection.
set -euo pipefail

readonly method=denoised.v1.DigitService/GenerateDigit
readonly timeout_seconds=300 # of an attempt
readonly attempts=5          # at a place in a full queue
readonly preview_every=10    # steps from one frame to the next
# gRPC's codes by their numbers; grpcurl's exit status is 64 and the number.
readonly codes=(OK CANCELLED UNKNOWN INVALID_ARGUMENT DEADLINE_EXCEEDED NOT_FOUND ALREADY_EXISTS PERMISSION_DENIED
  RESOURCE_EXHAUSTED FAILED_PRECONDITION ABORTED OUT_OF_RANGE UNIMPLEMENTED INTERNAL UNAVAILABLE DATA_LOSS
  UNAUTHENTICATED)
# Fields as JSON spells them: grpcurl has the API's own spelling, model_version, where others have modelVersion.
readonly json_names='walk(if type == "object" then with_entries(.key |= gsub("_(?<letter>.)"; .letter | ascii_upcase))
  else . end)'
readonly max_seed=18446744073709551615

usage() {
  cat <<'END'
usage: draw.sh DIGIT [--server HOST:PORT] [--seed N] [--sampler ddpm|ddim|dpm_solver_pp_2m] [--steps N] [--out FILE]
               [--previews DIR] [--ca FILE] [--token-file FILE] [--no-retry]
END
}

# fail STATUS TEXT
fail() {
  printf 'error: %s\n' "$2" >&2
  exit "$1"
}

mistyped() {
  usage >&2
  fail 2 "$1"
}

parse_arguments() {
  server=localhost:50051 seed='' sampler='' steps=0 out='' previews='' ca='' token_file='' retry=1 digit=${1-}
  if [[ $digit == --help ]]; then usage && exit; fi
  [[ $digit =~ ^(-?)([0-9]{1,9})$ ]] || mistyped "the digit comes first, 0 to 9, got \"$digit\""
  digit=${BASH_REMATCH[1]}$((10#${BASH_REMATCH[2]})) # no zeros before it, which JSON does not know
  shift
  while (($# > 0)); do
    if [[ $1 != --no-retry && $# -lt 2 ]]; then mistyped "$1 is not known, or lacks its value"; fi
    case $1 in
      --server)
        server=$2
        is_host_port "$server" || mistyped "--server must be HOST:PORT, with a port of 1 to 65535, got \"$server\""
        ;;
      --seed)
        seed=$2
        is_uint64 "$seed" || mistyped "--seed must be 0 to $max_seed, got \"$seed\""
        [[ $seed =~ ^0*(.+)$ ]] && seed=${BASH_REMATCH[1]}
        ;;
      --sampler) sampler=$2 ;;
      --steps) steps=$2 ;;
      --out) out=$2 ;;
      --previews) previews=$2 ;;
      --ca) ca=$2 ;;
      --token-file) token_file=$2 ;;
      --no-retry) retry='' && set -- "" "$@" ;;
      *) mistyped "$1 is not known" ;;
    esac
    shift 2
  done
  [[ $sampler =~ ^(|ddpm|ddim|dpm_solver_pp_2m)$ ]] || mistyped "--sampler must be ddpm, ddim or dpm_solver_pp_2m"
  [[ $steps =~ ^[0-9]{1,9}$ ]] || mistyped "--steps must be a number, got \"$steps\""
  steps=$((10#$steps))
  if [[ $token_file && ! $ca ]]; then
    mistyped "--token-file takes --ca: without TLS everybody on the way could read the token"
  fi
  out=${out:-digit-$digit.png}
}

# shellcheck disable=SC2071  # compared as texts: the shell's numbers end at 2^63
is_uint64() { [[ $1 =~ ^[0-9]{1,20}$ && (${#1} -lt 20 || ! $1 > $max_seed) ]]; }

is_host_port() { [[ $1 =~ ^.+:([0-9]{1,5})$ ]] && ((10#${BASH_REMATCH[1]} >= 1 && 10#${BASH_REMATCH[1]} <= 65535)); }

# In proto3's JSON 64-bit numbers are texts, which no program rounds on the way.
make_request() {
  local request="\"digit\": $digit, \"steps\": $steps"
  if [[ $sampler ]]; then request+=", \"sampler\": \"SAMPLER_${sampler^^}\""; fi
  if [[ $seed ]]; then request+=", \"seed\": \"$seed\""; fi
  if [[ $previews ]]; then
    request+=", \"preview\": {\"everySteps\": $preview_every, \"kind\": \"PREVIEW_KIND_PREDICTED_CLEAN\"}"
  fi
  echo "{$request}"
}

# Sets the array of grpcurl's flags. The token goes by the environment, where other users cannot see it.
make_flags() {
  flags=(-connect-timeout 5 -max-time "$timeout_seconds" -format-error)
  if [[ ! $ca ]]; then
    flags+=(-plaintext)
    return
  fi
  [[ -r $ca ]] || fail 1 "--ca: cannot read $ca"
  grep -qe '-----BEGIN CERTIFICATE-----' "$ca" || fail 1 "--ca: $ca holds no certificate, PEM"
  flags+=(-cacert "$ca")
  if [[ $token_file ]]; then
    TOKEN=$(tr -d '[:space:]' <"$token_file") || fail 1 "--token-file: cannot read $token_file"
    export TOKEN
    # shellcheck disable=SC2016  # for grpcurl
    flags+=(-expand-headers -H 'authorization: Bearer ${TOKEN}')
  fi
}

# Keeps the pictures of the events on standard input, a line of JSON for each. Ends with the file that it cannot write.
take_events() {
  local event frame steps='' model=''
  while read -r event; do
    case $event in
      '{"accepted"'*) read -r steps model < <(jq -r '.accepted | "\(.steps) \(.modelVersion)"' <<<"$event") ;;
      '{"preview"'*)
        frame=$previews/$(jq -r .preview.step <<<"$event" | xargs printf 'step-%04d.png')
        save "$frame" .preview.png "$event"
        jq -r --arg frame "$frame" '.preview | "step \(.step) of \(.totalSteps): \($frame)"' <<<"$event"
        ;;
      '{"image"'*)
        save "$out" .image.png "$event"
        jq -r --arg out "$out" --arg steps "$steps" --arg model "$model" \
          '.image | "\($out)  \(.width)x\(.height), seed \(.seed), \($steps) steps, model \($model)"' <<<"$event"
        ;;
    esac
  done
}

# save FILE PNG EVENT
save() { { jq -r "$2" <<<"$3" | base64 -d >"$1"; } 2>/dev/null || fail 1 "cannot write $1"; }

# What a server's refusal says, with its details.
explain() {
  jq -r --arg code "${codes[$1]}" "$json_names"' | "error: \($code): \(.message)", (.details[]? |
    (.fieldViolations[]? | "  \(.field): \(.description)"),
    (.retryDelay | values | rtrimstr("s") | tonumber * 10 | round | "  try again in \(. / 10 | floor).\(. % 10) s"))' \
    "$work/errors" >&2
}

# Ends grpcurl, so that the server stops drawing.
stop() {
  kill "$call" 2>/dev/null || true
  fail 130 "cancelled"
}

# Sets `status` to grpcurl's. Everything runs in the background, since the shell hears of Ctrl-C in a `wait` alone.
attempt() {
  local pictures
  rm -f "$work/events" && mkfifo "$work/events"
  grpcurl "${flags[@]}" -d "$request" "$server" "$method" >"$work/events" 2>"$work/errors" &
  call=$!
  trap stop INT TERM
  jq --compact-output --unbuffered "$json_names" <"$work/events" | take_events &
  pictures=$!
  wait "$pictures" || { kill "$call" 2>/dev/null; exit 1; }
  status=0
  wait "$call" || status=$?
}

retry_delay() { jq -r "$json_names"' | first(.details[]?.retryDelay | values) | rtrimstr("s")' "$work/errors"; }

main() {
  local tried status delay=''
  parse_arguments "$@"
  make_flags
  request=$(make_request)
  if [[ $previews ]]; then mkdir -p "$previews"; fi
  for ((tried = 1; ; ++tried)); do
    attempt
    if ((status == 0)); then return; fi
    # Not the server's answer: nobody is there, or not whom --ca trusts.
    if ((status < 64)); then fail 1 "UNAVAILABLE: $(<"$work/errors")"; fi
    if [[ ! $retry ]] || ((status != 64 + 8 || tried == attempts)); then break; fi
    delay=$(retry_delay)
    sleep "${delay:-1}" &
    wait $!
  done
  explain $((status - 64))
  exit 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
main "$@"
