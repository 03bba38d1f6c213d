#!/usr/bin/env bash
# Downloads MNIST's four files from public mirrors and checks them, for denoise-train and denoise-eval.
#
#   scripts/download_mnist.sh [FOLDER]    or else data; 12 MB
#
# A mirror that fails or sends something else is passed over for the next. Files that are there already and are right
# stay as they are. MNIST_MIRRORS may name other mirrors, separated by spaces.
set -euo pipefail

readonly folder=${1-data}
read -ra mirrors <<<"${MNIST_MIRRORS-https://ossci-datasets.s3.amazonaws.com/mnist https://storage.googleapis.com/cvdf-datasets/mnist}"

# SHA-256 of the unpacked files.
readonly files='
ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db train-images-idx3-ubyte
65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5 train-labels-idx1-ubyte
0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7 t10k-images-idx3-ubyte
ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2 t10k-labels-idx1-ubyte
'

die() {
  printf '%s\n' "$*" >&2
  exit 1
}

fetch() { # URL FILE
  if command -v curl >/dev/null; then
    curl --fail --silent --show-error --location --retry 2 --connect-timeout 20 --speed-limit 1000 --speed-time 20 --output "$2" "$1"
  elif command -v wget >/dev/null; then
    wget --quiet --tries=3 --timeout=20 --output-document="$2" "$1"
  else
    die "Neither curl nor wget is installed; install one of them and try again."
  fi
}

# right FILE SHA256: whether the gzipped file unpacks to these bytes.
right() { [[ -f $1 && $(gzip --decompress --stdout "$1" 2>/dev/null | sha256sum) == "$2  -" ]]; }

download() { # NAME SHA256
  local name=$1 sum=$2 mirror
  if right "$folder/$name.gz" "$sum"; then
    echo "$name.gz: there already"
    return
  fi
  partial=$(mktemp "$folder/.$name.XXXXXX")
  for mirror in "${mirrors[@]}"; do
    if ! fetch "$mirror/$name.gz" "$partial"; then
      echo "$mirror failed; trying the next" >&2
    elif ! right "$partial" "$sum"; then
      echo "$mirror sent something that is not MNIST's $name; trying the next" >&2
    else
      chmod 644 "$partial"
      mv "$partial" "$folder/$name.gz"
      echo "$name.gz: downloaded and checked"
      return
    fi
  done
  die "No mirror has $name. Try again later, or name another one: MNIST_MIRRORS=https://... $0 $folder"
}

partial=''
trap '[[ ! $partial ]] || rm -f "$partial"' EXIT
mkdir -p "$folder"
[[ -w $folder ]] || die "The folder $folder cannot be written to; name another one: $0 FOLDER"
while read -r sum name; do
  [[ -z $name ]] || download "$name" "$sum"
done <<<"$files"
echo "MNIST is in $folder/. Train with: denoise-train --data $folder"
