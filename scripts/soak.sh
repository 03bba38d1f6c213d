#!/usr/bin/env bash
# Loads a server with 120 % of what it can draw, and with clients that leave, are in a hurry or do not read, and checks
# that what reaches the others is as much as at 100 %, and that memory, descriptors and threads stay what they were.
# Nothing else should be running.
#
#   scripts/soak.sh [MINUTES]    of overload, 30 unless given; five more for comparison
set -euo pipefail
# shellcheck source=common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

[[ $# -le 1 && "${1-1}" =~ ^([1-9][0-9]*(\.[0-9]+)?|0\.[0-9]*[1-9])$ ]] || die "usage: scripts/soak.sh [MINUTES]    above 0"
trap stop_ticker EXIT
stage "Configuring" configure.log configure release -DDENOISED_BUILD_TESTS=ON
stage "Building" build.log build release --target soak
"$root/build/release/bin/soak" "$@"
