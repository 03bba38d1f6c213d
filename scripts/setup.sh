#!/usr/bin/env bash
# Installs what denoised is built from, as far as it is missing. Debian 12 and later, as root or through sudo.
#
#   scripts/setup.sh            what building and running needs
#   scripts/setup.sh --tests    what the tests need as well
#
# On another system nothing is installed, and Debian's relatives may lack a package: then it is told in words what is
# needed, unless the tree configures as it is.
set -euo pipefail
# shellcheck source=common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

# A line for each package: Debian's name, and for other systems what it is, with the oldest version this was tried with.
requirements() {
  cat <<'END'
# compiling
g++                     | a C++20 compiler (GCC 12)
cmake                   | CMake 3.25
ninja-build             | Ninja
ccache                  | ccache (optional: a second build of the same source takes seconds)
pkg-config              | pkg-config (gRPC's CMake files ask for it)
git                     | git (the revision that a binary and a checkpoint tell)
# the network; LibTorch is as fast as the BLAS beside it
libtorch-dev            | LibTorch 1.13
libgloo-dev             | gloo (optional: training in several processes)
libdnnl-dev             | oneDNN 2.6 (optional: convolutions on the CPU at four times the speed, if it is LibTorch's)
libopenblas0-pthread    | OpenBLAS 0.3.21, or another fast BLAS
# PNG and resizing; find_package(OpenCV) wants the whole of it
libopencv-dev           | OpenCV 4.6 (core, imgproc, imgcodecs)
# gRPC and what its API shows
libgrpc++-dev           | gRPC for C++ 1.51
protobuf-compiler-grpc  | gRPC's plugin for protoc
libprotobuf-dev         | Protobuf 3.21
protobuf-compiler       | protoc 3.21
libabsl-dev             | Abseil 20220623
grpc-proto              | grpc/health/v1/health.proto
# metrics; prometheus-cpp's CMake files ask for civetweb
prometheus-cpp-dev      | prometheus-cpp 1.0
civetweb                | civetweb 1.15
libcpp-httplib-dev      | cpp-httplib 0.11, compiled
# checkpoints: SHA-256, gzip, metadata
libssl-dev              | OpenSSL 3.0
zlib1g-dev              | zlib 1.2
nlohmann-json3-dev      | nlohmann-json 3.11
# logs and flags
libspdlog-dev           | spdlog 1.10
libcli11-dev            | CLI11 2.1
END
  if [[ $with_tests ]]; then
    cat <<'END'
# tests; Python opens the checkpoints that C++ writes
libgtest-dev            | GoogleTest 1.12
libgmock-dev            | GoogleMock 1.12
libbenchmark-dev        | Google Benchmark 1.7 (optional: tests/bench)
python3-torch           | PyTorch 1.13 for Python 3
curl                    | curl
END
  fi
}

packages() { requirements | awk -F ' *[|] *' '!/^#/ { print $1 }'; }

in_words() { requirements | awk -F ' *[|] *' '!/^#/ { print "  " $2 }'; }

is_debian() {
  command -v apt-get >/dev/null && command -v dpkg-query >/dev/null &&
    grep -qsE '^ID(_LIKE)?=.*debian' /etc/os-release
}

missing_packages() {
  local package
  for package in $(packages); do
    # shellcheck disable=SC2016  # dpkg-query's own variable
    [[ $(dpkg-query -W -f='${db:Status-Status} ' "$package" 2>/dev/null) == *'installed '* ]] || echo "$package"
  done
}

as_root() {
  if ((EUID == 0)); then "$@"; else sudo "$@"; fi
}

can_become_root() {
  ((EUID == 0)) || { command -v sudo >/dev/null && { sudo -n true 2>/dev/null || { [[ -t 0 ]] && sudo -v; }; }; }
}

# On a fresh machine another apt may be at work: wait for it.
apt_get() {
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 -y "$@"
}

# A first try with the package lists that are there; if they are old or absent, a second with new ones.
install_packages() {
  apt_get install --no-install-recommends "$@" || { apt_get update && apt_get install --no-install-recommends "$@"; }
}

install_missing() {
  local missing
  mapfile -t missing < <(missing_packages)
  if ((${#missing[@]} == 0)); then
    say "Every package that is needed is installed."
    return
  fi
  can_become_root || die "Packages are missing, and this user can install none. As root:
  apt-get update && apt-get install --no-install-recommends ${missing[*]}"
  stage "Installing ${#missing[@]} packages" setup.log install_packages "${missing[@]}" ||
    check_by_configuring "Not every package could be installed; the whole output is in $logs/setup.log"
}

# The reference BLAS is an order of magnitude slower. Who chose it by hand is told, not overruled.
warn_of_slow_blas() {
  local blas
  for blas in /usr/lib/*/libblas.so.3; do
    if [[ $(readlink -f "$blas") == */blas/libblas.so.3* ]]; then
      say "The reference BLAS is selected, and drawing will be slow. To select OpenBLAS, as root:"
      say "  update-alternatives --auto libblas.so.3-$(basename "$(dirname "$blas")")"
    fi
  done
}

# check_by_configuring REASON: where apt brought nothing, because of REASON, whether everything is there shows when the
# tree is configured.
check_by_configuring() {
  local tests=OFF
  if [[ $with_tests ]]; then tests=ON; fi
  if stage "Looking for what is needed" configure.log configure release -DDENOISED_BUILD_TESTS=$tests; then return; fi
  say >&2
  say "$1. Install these, or newer, by other means, then try again:" >&2
  in_words >&2
  exit 1
}

with_tests=
case ${1-} in
  '') ;;
  --tests) with_tests=1 ;;
  *) die "usage: scripts/setup.sh [--tests]" ;;
esac

trap stop_ticker EXIT
if is_debian; then
  install_missing
  warn_of_slow_blas
else
  check_by_configuring "This is not Debian, so nothing was installed"
fi
