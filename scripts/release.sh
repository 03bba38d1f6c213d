#!/usr/bin/env bash
# Makes a release of what is committed, in build/release-VERSION: source, Debian packages of this Debian, sums, and the
# tag vVERSION in this clone. Publishes nothing.
#
#   scripts/release.sh VERSION [--untested]    VERSION as CMakeLists.txt has it; --untested runs no test
#
# Where the tag is this commit's already, made on another Debian: the same for this one, but for the checks of the source,
# which are the same everywhere.
set -euo pipefail
# shellcheck source=common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
cd "$root"

readonly version=${1-} untested=${2-}
tests=--all
readonly into=$root/build/release-$version

usage() { die "usage: scripts/release.sh VERSION [--untested]    with a VERSION like 1.2.3"; }

check_version() {
  local of_tree
  of_tree=$(sed -nE 's/^project\(denoised VERSION ([0-9.]+).*/\1/p' CMakeLists.txt)
  [[ $version == "$of_tree" ]] || die "CMakeLists.txt says version $of_tree, not $version. Change it there first, and commit."
  grep -qE "^## $version( |\$)" CHANGELOG.md ||
    die "CHANGELOG.md has no section \"## $version\". Give what is listed under \"Unreleased\" that name and a date, and commit."
}

check_tree() {
  [[ -z $(git status --porcelain) ]] || die "Not everything is committed: $(git status --porcelain | head -n 3 | paste -sd ' ')"
  local tagged
  tagged=$(git rev-parse --quiet --verify "refs/tags/v$version^{commit}") || return 0
  [[ $tagged == "$(git rev-parse HEAD)" ]] || die "The tag v$version is there already, at another commit."
  tests=''
}

# A checkpoint's metadata lie in it as plain text.
check_checkpoints() {
  local file
  for file in models/*.pt; do
    ! grep -aqsE '"source_revision": "[^"]*(-dirty|unknown)' "$file" ||
      die "$file was trained by a build whose sources are in no commit. Train it with denoise-train --release."
  done
}

pack_source() {
  mkdir -p "$into" && git archive --prefix="denoised-$version/" --output="$into/denoised-$version.tar.gz" HEAD
}

sum_up() { (cd "$into" && sha256sum -- *.tar.gz *.deb >SHA256SUMS); }

[[ $version =~ ^[0-9]+\.[0-9]+\.[0-9]+$ && ($# -eq 1 || $untested == --untested) ]] || usage
check_version
check_tree
check_checkpoints
trap stop_ticker EXIT
[[ $untested ]] || scripts/test.sh ${tests:+"$tests"}
rm -rf "$into"
stage "Packing the source" release-source.log pack_source
scripts/package.sh
cp build/packages/*.deb "$into/"
sum_up
[[ -z $tests ]] || git tag --annotate --message "denoised $version" "v$version"
say "In $into:"
ls "$into"
say "Publish it with: git push origin v$version"
