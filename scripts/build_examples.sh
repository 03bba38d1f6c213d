#!/usr/bin/env bash
# Builds the programs of examples/ and the tools that scripts and tests use beside them, in copies below build/examples.
#
#   scripts/build_examples.sh                all of them
#   scripts/build_examples.sh LANGUAGE...    some: python, go, node, java, tools
#
# What a language needs comes by its own package manager, in the versions and with the sums that its folder pins, and is
# installed in build/examples alone; downloads are kept where such tools keep theirs. C++ is built with the tests instead, as it needs this build's library.
set -euo pipefail
# shellcheck source=common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
readonly into=$root/build/examples

# copy LANGUAGE: its folder, from where ../../proto is the API as it is in the tree, so that commands are the same.
copy() {
  mkdir -p "$into/$1" && ln -sfn ../proto "$root/build/proto" && cp -R "$root/examples/$1/." "$into/$1/" && cd "$into/$1"
}

# unchanged FILE: whether what it pins is installed in this folder already.
unchanged() { cmp --silent "$1" ".installed-$1"; }

build_python() {
  copy python
  if ! unchanged requirements.txt; then
    rm -rf .venv
    python3 -m venv .venv
    .venv/bin/pip install --disable-pip-version-check --require-hashes --only-binary :all: --requirement requirements.txt
    cp requirements.txt .installed-requirements.txt
  fi
  .venv/bin/python -m grpc_tools.protoc -I ../../proto --python_out=. --grpc_python_out=. denoised/v1/digit_service.proto
}

build_go() {
  copy go
  go build -o bin/ google.golang.org/protobuf/cmd/protoc-gen-go google.golang.org/grpc/cmd/protoc-gen-go-grpc
  PATH=$PWD/bin:$PATH go generate .
  go build -o bin/draw .
}

build_node() {
  copy node
  install_npm_packages
}

# Packages' own install scripts are not needed, so they are not run.
install_npm_packages() {
  unchanged package-lock.json && return
  npm ci --ignore-scripts --no-audit --no-fund
  cp package-lock.json .installed-package-lock.json
}

build_java() {
  copy java
  mvn --batch-mode --quiet --strict-checksums package
}

build_tools() {
  copy shell
  copy tools
  install_npm_packages
  go build -o bin/ github.com/fullstorydev/grpcurl/cmd/grpcurl github.com/bojand/ghz/cmd/ghz
}

# need LANGUAGE COMMAND...: whether these commands are there; says what is not.
need() {
  local language=$1 command
  shift
  for command; do
    command -v "$command" >/dev/null && continue
    say "Without $command, examples/$language is left out; scripts/setup.sh --examples installs it."
    return 1
  done
}

commands_of() {
  case $1 in
    python) echo python3 ;;
    go) echo go protoc ;;
    node) echo node npm ;;
    java) echo javac mvn ;;
    tools) echo go npm jq ;;
  esac
}

# A language in a shell of its own, where the first failed command is the end: `if` would have it go on.
build_language() { bash -c "source '${BASH_SOURCE[0]}' --functions; set -e; build_$1"; }

if [[ ${1-} == --functions ]]; then return; fi

languages=("$@")
if (($# == 0)); then languages=(python go node java tools); fi
failed=0
trap stop_ticker EXIT
for language in "${languages[@]}"; do
  read -ra commands <<<"$(commands_of "$language")"
  ((${#commands[@]} > 0)) || die "usage: scripts/build_examples.sh [python | go | node | java | tools]..."
  need "$language" "${commands[@]}" || continue
  stage "Building examples/$language" "examples-$language.log" build_language "$language" || failed=1
done
((failed == 0))
