#!/usr/bin/env bash
# Builds the Dockerfile's image without a daemon, for tests/image: by buildah, as root, on a base that debootstrap makes
# of the Debian that this is, without documents and translations, as Docker's slim ones are.
#
#   scripts/image.sh [TARGET]    cpu, or else cuda or trainer; leaves localhost/denoised:TARGET in build/image/storage
set -euo pipefail
# shellcheck source=common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

readonly target=${1-cpu} into=$root/build/image
readonly base=localhost/denoised-base

in_store() { buildah --root "$into/storage" --runroot "$into/run" "$@"; }

make_root() {
  local codename
  codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
  rm -rf "$into/debian" && mkdir -p "$into"
  debootstrap --variant=minbase --include=ca-certificates "$codename" "$into/debian" || return
  # With security updates, where this machine has them in the newer of the two ways.
  if cp /etc/apt/sources.list.d/debian.sources "$into/debian/etc/apt/sources.list.d/"; then
    rm -f "$into/debian/etc/apt/sources.list"
  fi
  printf 'path-exclude /usr/share/%s/*\n' doc man info locale >"$into/debian/etc/dpkg/dpkg.cfg.d/slim"
  echo 'path-include /usr/share/doc/*/copyright' >>"$into/debian/etc/dpkg/dpkg.cfg.d/slim"
  find "$into/debian/usr/share/doc" -type f ! -name copyright -delete
  rm -rf "$into"/debian/usr/share/{man,info,locale}/* "$into"/debian/var/{cache/apt,lib/apt/lists,log}/*
}

# The certificates of this machine: it may reach its package mirror by them alone.
add_certificates() { cp /etc/ssl/certs/ca-certificates.crt "$into/debian/etc/ssl/certs/"; }

make_base() {
  local container
  make_root && add_certificates && container=$(in_store from scratch) &&
    in_store add --quiet "$container" "$into/debian" / && in_store commit --quiet --rm "$container" "$base" &&
    rm -rf "$into/debian"
}

make_image() {
  in_store build --isolation chroot --format docker --layers --build-arg BASE="$base" \
    --build-arg REVISION="$(git -C "$root" rev-parse --short=12 HEAD 2>/dev/null || echo unknown)" \
    --target "$target" --tag "localhost/denoised:$target" "$root"
}

trap stop_ticker EXIT
((EUID == 0)) || die "The image's base is made by debootstrap, which needs root."
for tool in buildah debootstrap; do
  command -v "$tool" >/dev/null || die "$tool is not installed; scripts/setup.sh --image installs it."
done
in_store images --quiet "$base" >/dev/null 2>&1 || stage "Making a base" image-base.log make_base
stage "Building the image" "image-$target.log" make_image
in_store images "localhost/denoised:$target"
