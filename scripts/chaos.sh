#!/usr/bin/env bash
# Sends requests to a server through a proxy that delays, throttles, cuts, resets and half-closes their connections, and
# checks that each ends in a result or a stated error, that every image has the right bytes, and that nothing is left.
#
#   scripts/chaos.sh [REQUESTS [SEED]]    10,000 requests and a seed of the moment's unless given; a minute or two
#
# A seed that was printed repeats the requests and what their connections suffer.
set -euo pipefail
# shellcheck source=common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

[[ $# -le 2 && "${1-1}" =~ ^[1-9][0-9]*$ && "${2-0}" =~ ^[0-9]+$ ]] ||
  die "usage: scripts/chaos.sh [REQUESTS [SEED]]    whole numbers, of requests at least 1"
trap stop_ticker EXIT
stage "Configuring" configure.log configure release -DDENOISED_BUILD_TESTS=ON
stage "Building" build.log build release --target chaos
"$root/build/release/bin/chaos" "$@"
