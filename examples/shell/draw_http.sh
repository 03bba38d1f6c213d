#!/usr/bin/env bash
# Draws a handwritten digit over HTTP with curl and jq: draw_http.sh 7 --seed 42
#
# The picture alone comes by GET; with --previews, every event by POST, as a line of JSON when it happens. For a place in
# a full queue curl waits itself: --retry asks again after 429, as late as Retry-After says.
set -euo pipefail

readonly timeout_seconds=300 # of an attempt
readonly retries=5           # at a place in a full queue
readonly preview_every=10    # steps from one frame to the next
readonly http_error=22       # curl's exit status where the server has answered with one
readonly max_seed=18446744073709551615

usage() {
  cat <<'END'
usage: draw_http.sh DIGIT [--server URL] [--seed N] [--sampler ddpm|ddim|dpm_solver_pp_2m] [--steps N] [--out FILE]
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
  server=http://localhost:8080 seed='' sampler='' steps=0 out='' previews='' ca='' token_file='' retry=1 digit=${1-}
  if [[ $digit == --help ]]; then usage && exit; fi
  [[ $digit =~ ^(-?)([0-9]{1,9})$ ]] || mistyped "the digit comes first, 0 to 9, got \"$digit\""
  digit=${BASH_REMATCH[1]}$((10#${BASH_REMATCH[2]})) # no zeros before it, which JSON does not know
  shift
  while (($# > 0)); do
    if [[ $1 != --no-retry && $# -lt 2 ]]; then mistyped "$1 is not known, or lacks its value"; fi
    case $1 in
      --server) server=${2%/} ;;
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
  [[ $server =~ ^https?:// ]] || mistyped "--server must begin with http:// or https://, got \"$server\""
  if [[ $token_file && $server != https://* ]]; then
    mistyped "--token-file takes a --server with https://: without TLS everybody on the way could read the token"
  fi
  out=${out:-digit-$digit.png}
}

# shellcheck disable=SC2071  # compared as texts: the shell's numbers end at 2^63
is_uint64() { [[ $1 =~ ^[0-9]{1,20}$ && (${#1} -lt 20 || ! $1 > $max_seed) ]]; }

# Sets the array of curl's flags. The token goes by a file, where other users cannot see it.
make_flags() {
  flags=(--silent --show-error --fail-with-body --no-buffer --connect-timeout 5 --max-time "$timeout_seconds")
  if [[ $retry ]]; then flags+=(--retry "$retries"); fi
  if [[ $ca ]]; then
    [[ -r $ca ]] || fail 1 "--ca: cannot read $ca"
    grep -qe '-----BEGIN CERTIFICATE-----' "$ca" || fail 1 "--ca: $ca holds no certificate, PEM"
    flags+=(--cacert "$ca")
  fi
  if [[ $token_file ]]; then
    local token
    token=$(tr -d '[:space:]' 2>/dev/null <"$token_file") || fail 1 "--token-file: cannot read $token_file"
    (umask 077 && printf 'Authorization: Bearer %s\n' "$token" >"$work/headers")
    flags+=(--header "@$work/headers")
  fi
}

# The picture alone. Ends with curl's exit status; a refusal is in $work/answer.
get_picture() {
  local query="steps=$steps${sampler:+&sampler=$sampler}${seed:+&seed=$seed}"
  curl "${flags[@]}" --output "$work/answer" \
    --write-out '%header{x-denoised-seed}, model %header{x-denoised-model}' \
    "$server/v1/digits/$digit.png?$query" >"$work/told" 2>"$work/errors" &
  call=$!
  wait "$call" || return
  { cat "$work/answer" >"$out"; } 2>/dev/null || fail 1 "cannot write $out"
  echo "$out  seed $(<"$work/told")"
}

# Every event, and the frames on the way. Ends as get_picture does.
follow_events() {
  local request="\"digit\": $digit, \"steps\": $steps" pictures
  if [[ $sampler ]]; then request+=", \"sampler\": \"SAMPLER_${sampler^^}\""; fi
  if [[ $seed ]]; then request+=", \"seed\": \"$seed\""; fi # in proto3's JSON 64-bit numbers are texts
  request+=", \"preview\": {\"everySteps\": $preview_every, \"kind\": \"PREVIEW_KIND_PREDICTED_CLEAN\"}"
  mkdir -p "$previews" || fail 1 "cannot write $previews"
  mkfifo "$work/events"
  curl "${flags[@]}" --header 'Content-Type: application/json' --data "{$request}" "$server/v1/digits:generate" \
    >"$work/events" 2>"$work/errors" &
  call=$!
  take_events <"$work/events" &
  pictures=$!
  wait "$pictures" || { stop_curl && exit 1; }
  wait "$call"
}

# curl runs in the background, since the shell hears of Ctrl-C in a `wait` alone. Ends it, so that the server stops drawing.
stop_curl() { if [[ $call ]]; then kill "$call" 2>/dev/null || true; fi; }

cancelled() {
  stop_curl
  fail 130 "cancelled"
}

# Keeps the pictures of the events on standard input, a line of JSON for each.
take_events() {
  local event frame model=''
  : >"$work/answer"
  while read -r event; do
    case $event in
      '{"accepted"'*)
        model=$(jq -r .accepted.modelVersion <<<"$event")
        : >"$work/answer" # of the refusals before it
        ;;
      '{"preview"'*)
        frame=$previews/$(jq -r .preview.step <<<"$event" | xargs printf 'step-%04d.png')
        save "$frame" .preview.png "$event"
        jq -r --arg frame "$frame" '.preview | "step \(.step) of \(.totalSteps): \($frame)"' <<<"$event"
        ;;
      '{"image"'*)
        save "$out" .image.png "$event"
        jq -r --arg out "$out" --arg model "$model" '.image | "\($out)  seed \(.seed), model \($model)"' <<<"$event"
        ;;
      *) printf '%s\n' "$event" >"$work/answer" ;; # an error, which may also come in the middle
    esac
  done
}

# save FILE PNG EVENT
save() { { jq -r "$2" <<<"$3" | base64 -d >"$1"; } 2>/dev/null || fail 1 "cannot write $1"; }

# What a server's refusal says, with its details; fails if it is none of the server's.
explain() {
  jq -r '.error | "error: \(.status): \(.message)", (.details[]? |
    (.fieldViolations[]? | "  \(.field): \(.description)"),
    (.retryDelay | values | rtrimstr("s") | tonumber * 10 | round | "  try again in \(. / 10 | floor).\(. % 10) s"))' \
    "$work/answer" 2>"$work/errors"
}

main() {
  local status=0 call=''
  trap cancelled INT TERM
  parse_arguments "$@"
  make_flags
  if [[ $previews ]]; then follow_events || status=$?; else get_picture || status=$?; fi
  if ((status == 0)) && [[ ! $previews || ! -s $work/answer ]]; then return; fi
  # Not the server's answer: nobody is there, or not whom --ca trusts.
  if ((status != 0 && status != http_error)); then fail 1 "UNAVAILABLE: $(head -n 1 "$work/errors")"; fi
  explain >"$work/words" || fail 1 "UNAVAILABLE: $(head -c 1000 "$work/answer")" # of a proxy, or a port that speaks TLS
  cat "$work/words" >&2
  exit 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
main "$@"
