#!/usr/bin/env bash
# Installs what denoised is built from, as far as it is missing. Debian 12 and later, as root or through sudo.
#
#   scripts/setup.sh            what building and running needs
#   scripts/setup.sh --serving  only what a build with -DDENOISED_SERVING_ONLY=ON needs: no LibTorch, no OpenCV
#   scripts/setup.sh --tests    what the tests need as well
#   scripts/setup.sh --checks   what scripts/check.sh needs as well: compilers, linters
#   scripts/setup.sh --examples what examples/ needs as well: other languages' tools, and the examples built by
#                               scripts/build_examples.sh, with all that they need, in build/examples
#   scripts/setup.sh --deploy   what tests/deploy needs as well: Debian's Prometheus, which starts as a service, and by the
#                               Go that is there what the tests of manifests import
#   scripts/setup.sh --prometheus3
#                               Prometheus 3 as well, from source into build/prometheus3, by Go 1.26.7 or later; minutes
#   scripts/setup.sh --page     what tests/page needs as well: Chromium, Node.js, and packages from npm into build/page
#   scripts/setup.sh --tensorboard
#                               what the test of TensorBoard's event files needs as well: TensorBoard, from PyPI into
#                               build/tensorboard
#   scripts/setup.sh --opentelemetry
#                               what the test of spans needs as well: OpenTelemetry's own messages, from PyPI into
#                               build/opentelemetry
#   scripts/setup.sh --second-opinion
#                               what scripts/second_opinion.py needs: ONNX Runtime and a reader of text, from PyPI into
#                               build/second-opinion
#   scripts/setup.sh --packages what scripts/package.sh needs as well
#   scripts/setup.sh --image    what scripts/image.sh needs as well: an image without a daemon
#   scripts/setup.sh --cuda     NVIDIA's CUDA compiler as well, from PyPI into build/cuda: no GPU or driver is needed
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
# pictures
libpng-dev              | libpng 1.6
libgif-dev              | giflib 5.2 (animations)
# gRPC and what its API shows
libgrpc++-dev           | gRPC for C++ 1.51
protobuf-compiler-grpc  | gRPC's plugin for protoc
libprotobuf-dev         | Protobuf 3.21
protobuf-compiler       | protoc 3.21
libabsl-dev             | Abseil 20220623
# metrics; prometheus-cpp's CMake files ask for civetweb
prometheus-cpp-dev      | prometheus-cpp 1.0
civetweb                | civetweb 1.15
libboost-dev            | Boost 1.74, its headers (Asio and Beast)
# checkpoints: archives, SHA-256, gzip, metadata
libzip-dev              | libzip 1.7
libssl-dev              | OpenSSL 3.0
zlib1g-dev              | zlib 1.2
nlohmann-json3-dev      | nlohmann-json 3.11
# logs and flags
libspdlog-dev           | spdlog 1.10
libcli11-dev            | CLI11 2.1
END
  if [[ $serving_only ]]; then
    echo 'libdnnl-dev | oneDNN 2.6'
  else
    cat <<'END'
# the network; LibTorch is as fast as the BLAS beside it
libtorch-dev            | LibTorch 1.13, or pip's PyTorch 2.7
libgloo-dev             | gloo (optional: training in several processes, if LibTorch is linked with it)
libdnnl-dev             | oneDNN 2.6 (optional: convolutions on the CPU at four times the speed)
libopenblas0-pthread    | OpenBLAS 0.3.21, or another fast BLAS
# plots; find_package(OpenCV) wants the whole of it
libopencv-dev           | OpenCV 4.6 (core, imgproc, imgcodecs)
END
  fi
  if [[ $with_tests ]]; then
    cat <<'END'
# tests; Python opens the checkpoints that C++ writes
libgtest-dev            | GoogleTest 1.12
libgmock-dev            | GoogleMock 1.12
libbenchmark-dev        | Google Benchmark 1.7 (optional: tests/bench)
python3-torch           | PyTorch 1.13 for Python 3
python3-protobuf        | Protobuf for Python 3
python3-matplotlib      | matplotlib (optional: the test of scripts/plot_distance.py)
curl                    | curl
zsh                     | zsh (optional: the tests of completions)
fish                    | fish (optional likewise)
bash-completion         | bash-completion (optional likewise)
mandoc                  | mandoc (optional: the tests of manual pages)
haproxy                 | HAProxy 2.6 (optional: the test of a rolling restart behind it)
END
  fi
  if [[ $with_deploy ]]; then
    cat <<'END'
# what deploy/ is tried with
prometheus              | Prometheus 2.42 and promtool (optional: tests/deploy skips what needs it)
END
    command -v go >/dev/null || echo 'golang-go | Go 1.24 (optional: the tests of manifests; Debian 12 has an older one)'
  fi
  if [[ $with_checks ]]; then
    cat <<'END'
# checks; clang-tidy and clang-format of one version, because their opinions change
clang-tidy-14           | clang-tidy 14 (optional: scripts/check.sh says what it leaves out)
libomp-14-dev           | omp.h for clang-tidy (optional: as before)
clang-format-14         | clang-format 14 (optional likewise)
clang-14                | Clang 14 (optional: scripts/fuzz.sh)
libclang-rt-14-dev      | libFuzzer and sanitizers for it (optional likewise)
shellcheck              | ShellCheck 0.9 (optional likewise)
END
  fi
  if [[ $with_examples ]]; then
    # these may also come from elsewhere than from Debian
    python3 -c 'import ensurepip' 2>/dev/null || echo 'python3-venv | Python 3.10 with venv (optional: examples/python)'
    command -v go >/dev/null || echo 'golang-go | Go 1.19 (optional: examples/go, examples/tools)'
    command -v node >/dev/null || echo 'nodejs | Node.js 18 (optional: examples/node)'
    command -v npm >/dev/null || echo 'npm | npm 9 (optional: examples/node, examples/tools)'
    command -v javac >/dev/null || echo 'default-jdk-headless | JDK 17 (optional: examples/java)'
    command -v mvn >/dev/null || echo 'maven | Maven 3.8 (optional: examples/java)'
    echo "protobuf-compiler-grpc-java-plugin | gRPC-Java's plugin for protoc (optional: Maven has one too)"
    command -v jq >/dev/null || echo 'jq | jq 1.6 (optional: examples/shell)'
  fi
  if [[ $with_page ]]; then
    cat <<'END'
# tests of the page, in a browser
chromium                | Chromium (optional: tests/page is left out)
fonts-urw-base35        | a Palatino (optional: the README's picture of the page)
END
    command -v node >/dev/null || echo 'nodejs | Node.js 18 (optional: tests/page)'
    command -v npm >/dev/null || echo 'npm | npm 9 (optional: tests/page)'
  fi
  if [[ $with_tensorboard || $with_opentelemetry || $with_second_opinion ]]; then
    python3 -c 'import ensurepip' 2>/dev/null ||
      echo 'python3-venv | Python 3.11 with venv (optional: the tests of event files and spans, the second opinion)'
  fi
  if [[ $with_packages ]]; then
    cat <<'END'
# Debian packages
dpkg-dev                | dpkg-shlibdeps
file                    | file
END
  fi
  if [[ $with_image ]]; then
    cat <<'END'
# an image without a daemon
buildah                 | buildah 1.28
debootstrap             | debootstrap 1.0
END
  fi
  if [[ $with_cuda ]]; then
    cat <<'END'
# the CUDA compiler's packages
python3-pip             | pip for Python 3
END
  fi
}

packages() { requirements | awk -F ' *[|] *' '!/^#/ { print $1 }'; }

# in_words [PACKAGE...]: what these are, or else all of them.
in_words() {
  requirements | awk -F ' *[|] *' -v wanted=" $* " '!/^#/ && (wanted ~ /^ *$/ || index(wanted, " " $1 " ")) { print "  " $2 }'
}

is_optional() { [[ $(in_words "$1") == *'(optional'* ]]; }

is_debian() {
  command -v apt-get >/dev/null && command -v dpkg-query >/dev/null &&
    grep -qsE '^ID(_LIKE)?=.*debian' "${DENOISED_OS_RELEASE:-/etc/os-release}"
}

# What dpkg has of a package, in its three words: what is wanted (install, hold, deinstall), whether it must be installed
# again, and how far it is (installed, config-files, half-installed, not-installed). Nothing for a name it never met.
# NOTE: the last one is compared as a whole: not-installed contains installed.
dpkg_state() {
  # shellcheck disable=SC2016  # dpkg-query's own variables
  dpkg-query -W -f='${db:Status-Want} ${db:Status-Eflag} ${db:Status-Status}\n' "$1" 2>/dev/null | head -n 1 || true
}

is_installed() { [[ $(dpkg_state "$1") == *' ok installed' ]]; }

is_held() { [[ $(dpkg_state "$1") == 'hold '* ]]; }

is_half_done() { [[ $(dpkg_state "$1") =~ \ (reinstreq\ |half-|unpacked$|triggers-) ]]; }

missing_packages() {
  local package
  for package in $(packages); do is_installed "$package" || echo "$package"; done
}

# Whether apt has a version of it to install.
is_known() { [[ $(apt-cache policy "$1" 2>/dev/null) =~ 'Candidate: '[^\(] ]]; }

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

# What apt can install of these: one name that it does not know, or that is held, would make it install nothing.
installable() {
  local package
  for package; do
    if ! is_held "$package" && is_known "$package"; then echo "$package"; fi
  done
}

# Installs what there is. A first try with the package lists that are there; if they are old or absent, a second with new
# ones. What an interrupted dpkg has left behind is finished first.
install_packages() {
  local package there how=(install --no-install-recommends)
  for package; do
    if is_half_done "$package"; then how=(install --no-install-recommends --reinstall); fi
  done
  if [[ ${how[*]} == *--reinstall* ]]; then
    as_root dpkg --configure -a || true
    apt_get --fix-broken install || true
  fi
  mapfile -t there < <(installable "$@")
  if ((${#there[@]} == $#)) && apt_get "${how[@]}" "${there[@]}"; then return; fi
  apt_get update || true
  mapfile -t there < <(installable "$@")
  ((${#there[@]} == 0)) || apt_get "${how[@]}" "${there[@]}"
}

# why_missing PACKAGE: a line on what is in the way.
why_missing() {
  local package=$1 why="apt could not install it"
  if is_held "$package"; then
    why="it is held: apt-mark unhold $package"
  elif ! is_known "$package"; then
    why="this system's package lists do not have it"
  fi
  printf '  %-22s %s\n' "$package" "$why"
}

install_missing() {
  local missing package left=() less=()
  mapfile -t missing < <(missing_packages)
  if ((${#missing[@]} == 0)); then
    say "Every package that is needed is installed."
    return
  fi
  if ! can_become_root; then
    # One name that apt does not know would make it install nothing.
    for package in "${missing[@]}"; do
      if ! is_optional "$package" || is_known "$package"; then left+=("$package"); fi
    done
    die "Packages are missing, and this user can install none. As root:
  apt-get update && apt-get install --no-install-recommends ${left[*]}"
  fi
  stage "Installing ${#missing[@]} packages" setup.log install_packages "${missing[@]}" || true
  for package in "${missing[@]}"; do
    if is_installed "$package"; then continue; fi
    if is_optional "$package"; then less+=("$package"); else left+=("$package"); fi
  done
  if ((${#less[@]} > 0)); then
    say "Not installed, and denoised works without:"
    for package in "${less[@]}"; do why_missing "$package"; done
  fi
  if ((${#left[@]} > 0)); then
    say "Not installed:"
    for package in "${left[@]}"; do why_missing "$package"; done
    check_by_configuring "Not every package could be installed; the whole output is in $logs/setup.log" "${left[@]}"
  fi
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

# check_by_configuring REASON [PACKAGE...]: where apt did not bring these packages, or any, because of REASON, whether
# everything is there all the same shows when the tree is configured, in a folder of its own: that of the builds keeps the
# options that it was given.
check_by_configuring() {
  local reason=$1 tests=OFF
  shift
  if [[ $with_tests ]]; then tests=ON; fi
  local serving=OFF
  if [[ $serving_only ]]; then serving=ON; fi
  if ! command -v cmake >/dev/null; then
    say >&2
    say "$reason, and there is no cmake to look for the rest with." >&2
  elif stage "Looking for what is needed" configure.log configure release -B build/looking -DDENOISED_BUILD_TESTS=$tests -DDENOISED_SERVING_ONLY=$serving; then
    rm -rf "$root/build/looking"
    return
  else
    say >&2
    say "$reason." >&2
  fi
  say "Install these, or newer, by other means, then try again:" >&2
  in_words "$@" >&2
  say "README.md, \"On another system\", says how with pip's PyTorch, and gives other systems' package names." >&2
  exit 1
}

# The compiler's wheels, pinned with their sums. They lack what CMake looks for: the mark that a program may be run, the
# library's name without a version, and lib64.
install_cuda() {
  local into=$root/build/cuda
  rm -rf "$into.new" &&
    python3 -m pip install --disable-pip-version-check --no-deps --only-binary :all: --require-hashes \
      --target "$into.new" --requirement "$root/scripts/cuda-requirements.txt" &&
    find "$into.new" -path '*/bin/*' -type f -exec chmod +x {} + &&
    ln -s libcudart.so.13 "$into.new/nvidia/cu13/lib/libcudart.so" &&
    ln -s lib "$into.new/nvidia/cu13/lib64" &&
    cp "$root/scripts/cuda-requirements.txt" "$into.new/requirements.txt" &&
    rm -rf "$into" && mv "$into.new" "$into"
}

has_cuda() { cmp --silent "$root/scripts/cuda-requirements.txt" "$root/build/cuda/requirements.txt"; }

# Python packages at pinned versions, by the file scripts/NAME-requirements.txt, in an environment of their own: build/NAME.
install_python() {
  local into=$root/build/$1 requirements=$root/scripts/$1-requirements.txt
  rm -rf "$into" && python3 -m venv "$into" &&
    "$into/bin/pip" install --disable-pip-version-check --only-binary :all: --no-deps --requirement "$requirements" &&
    cp "$requirements" "$into/requirements.txt"
}

has_python() { cmp --silent "$root/scripts/$1-requirements.txt" "$root/build/$1/requirements.txt"; }

# What the tests of manifests import, compiled once, so that they need no network. Debian 13 has Go 1.24, Debian 12 a Go that
# is too old: those tests are skipped in words.
prepare_manifest_tests() {
  cd "$root/tests/deploy/manifests" && GOTOOLCHAIN=local GOFLAGS=-p=$(build_jobs) go test -run '^$' ./...
}

# Of version 3, pinned; Go checks its sums. Discovery of targets in clouds is left out.
prometheus3=v0.316.0

install_prometheus3() {
  local into=$root/build/prometheus3
  rm -rf "$into" && mkdir -p "$into" &&
    (cd "$into" && GOBIN=$into GOFLAGS=-p=$(build_jobs) go install -tags remove_all_sd \
      "github.com/prometheus/prometheus/cmd/prometheus@$prometheus3" \
      "github.com/prometheus/prometheus/cmd/promtool@$prometheus3")
}

has_prometheus3() {
  [[ -x $root/build/prometheus3/promtool ]] &&
    go version -m "$root/build/prometheus3/prometheus" 2>/dev/null | grep -qF "$prometheus3"
}

# npm's packages, pinned with their sums.
install_page() {
  local into=$root/build/page
  mkdir -p "$into" && rm -f "$into/ready" && cp "$root"/tests/page/package{,-lock}.json "$into/" &&
    (cd "$into" && npm ci --ignore-scripts --no-audit --no-fund) && cp "$into/package-lock.json" "$into/ready"
}

has_page() { cmp --silent "$root/tests/page/package-lock.json" "$root/build/page/ready"; }

serving_only='' with_packages='' with_image='' with_tests='' with_checks='' with_examples='' with_page='' with_cuda=''
with_deploy='' with_prometheus3='' with_tensorboard='' with_opentelemetry='' with_second_opinion=''
for option; do
  case $option in
    --serving) serving_only=1 ;;
    --packages) with_packages=1 ;;
    --image) with_image=1 ;;
    --tests) with_tests=1 ;;
    --checks) with_checks=1 ;;
    --examples) with_examples=1 ;;
    --page) with_page=1 ;;
    --cuda) with_cuda=1 ;;
    --deploy) with_deploy=1 ;;
    --prometheus3) with_prometheus3=1 ;;
    --tensorboard) with_tensorboard=1 ;;
    --opentelemetry) with_opentelemetry=1 ;;
    --second-opinion) with_second_opinion=1 ;;
    *) die "usage: scripts/setup.sh [--serving] [--tests] [--checks] [--examples] [--page] [--deploy] [--prometheus3] [--tensorboard] [--opentelemetry] [--second-opinion] [--packages] [--image] [--cuda]" ;;
  esac
done

trap stop_ticker EXIT
if is_debian; then
  install_missing
  warn_of_slow_blas
else
  check_by_configuring "This is not Debian, so nothing was installed"
fi
if [[ $with_page ]] && ! has_page; then
  stage "Getting the page's test packages" setup-page.log install_page ||
    die "npm could not bring what tests/page needs; everything else is built and tested without it."
fi
if [[ $with_cuda ]] && ! has_cuda; then
  stage "Getting the CUDA compiler" setup-cuda.log install_cuda ||
    die "The CUDA compiler could not be had from PyPI; everything else is built and tested without it."
fi
if [[ $with_tensorboard ]] && ! has_python tensorboard; then
  stage "Getting TensorBoard" setup-tensorboard.log install_python tensorboard ||
    die "TensorBoard could not be had from PyPI; everything else is built and tested without it."
fi
if [[ $with_opentelemetry ]] && ! has_python opentelemetry; then
  stage "Getting OpenTelemetry's messages" setup-opentelemetry.log install_python opentelemetry ||
    die "OpenTelemetry's messages could not be had from PyPI; everything else is built and tested without them."
fi
if [[ $with_second_opinion ]] && ! has_python second-opinion; then
  stage "Getting a second opinion" setup-second-opinion.log install_python second-opinion ||
    die "What scripts/second_opinion.py needs could not be had from PyPI; everything else works without it."
fi
if [[ $with_examples ]]; then
  "$root/scripts/build_examples.sh" || die "Not every example could be built; everything else works without."
fi
if [[ $with_deploy ]]; then
  if ! command -v go >/dev/null; then
    say "Go is not installed: the manifests in deploy/ are not tested. Go 1.24 or later is needed for that."
  else
    stage "Preparing the manifests' tests" setup-deploy.log prepare_manifest_tests ||
      say "The manifests in deploy/ are not tested. Go 1.24 or later is needed for that, and its modules."
  fi
fi
if [[ $with_prometheus3 ]] && ! has_prometheus3; then
  command -v go >/dev/null || die "Prometheus 3 is built by Go, which is not installed; Go 1.26.7 or later is needed."
  stage "Building Prometheus 3" setup-prometheus3.log install_prometheus3 ||
    die "Prometheus 3 could not be built; everything else is tested without it."
fi
