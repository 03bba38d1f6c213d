#!/usr/bin/env bash
# Three replicas, first behind HAProxy (deploy/haproxy.cfg), then balanced by the clients themselves, are stopped by SIGTERM
# and started again in turn, while clients with gRPC's standard retry policy draw: says how many calls each replica got,
# and how many failed, which should be none.
#
#   scripts/rolling_restart.sh [CALLS [RESTARTS]]    2000 calls at least and 3 restarts of each unless given; two minutes
set -euo pipefail
# shellcheck source=common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

configure_with_tests() { configure release -DDENOISED_BUILD_TESTS=ON; }
# ctest's runner takes the output; here it is what is wanted.
roll() { "$root/build/release/bin/rolling_tests" --gtest_filter='RollingRestartTest.*' --gtest_brief=1; }

export DENOISED_ROLLING_CALLS=${1-2000} DENOISED_ROLLING_RESTARTS=${2-3}
[[ $# -le 2 && $DENOISED_ROLLING_CALLS =~ ^[1-9][0-9]*$ && $DENOISED_ROLLING_RESTARTS =~ ^[1-9][0-9]*$ ]] ||
  die "usage: scripts/rolling_restart.sh [CALLS [RESTARTS]]    whole numbers from 1"
PATH=$PATH:/usr/sbin command -v haproxy >/dev/null || die "haproxy is not installed; scripts/setup.sh --tests installs it."
trap stop_ticker EXIT
stage "Configuring" configure.log configure_with_tests
stage "Building" build.log build release --target rolling_tests
roll
