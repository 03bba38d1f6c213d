#!/bin/sh
# Prints a bill of materials of the system it runs on, as CycloneDX 1.5 (https://cyclonedx.org): Debian's packages, what
# denoised has compiled in of others' headers, denoised itself, and its checkpoints. For images and machines with dpkg. Each
# package has it in a folder of its own name.
set -eu
here=$(dirname "$0")

quote() { printf '%s' "$1" | sed 's/[\\"]/\\&/g'; }

separator=''
# component TYPE NAME VERSION [REST]
component() {
  printf '%s\n    {"type": "%s", "name": "%s", "version": "%s"%s}' "$separator" "$1" "$(quote "$2")" "$(quote "$3")" "${4-}"
  separator=,
}

distribution=$(. /etc/os-release && echo "$ID-$VERSION_ID")
# package NAME VERSION [REST]
package() {
  component library "$1" "$2" "$(printf ', "purl": "pkg:deb/debian/%s@%s?distro=%s"%s' "$1" "$(echo "$2" | sed 's/+/%2B/g; s/:/%3A/g')" "$distribution" "${3-}")"
}

printf '{\n  "bomFormat": "CycloneDX",\n  "specVersion": "1.5",\n  "version": 1,\n  "metadata": {"timestamp": "%s"},\n  "components": [' "$(date -u +%Y-%m-%dT%H:%M:%SZ)"
for program in denoised denoise denoise-train; do
  command -v "$program" >/dev/null || continue
  component application "$program" "$("$program" --version | sed -nE "1s/^$program //p")" ', "licenses": [{"license": {"id": "MIT"}}]'
done
for model in "$here"/../denoised/*.pt "$here"/../denoised/judges/*.pt; do
  [ -e "$model" ] || continue
  sum=$(sha256sum "$model" | cut -d ' ' -f 1)
  component machine-learning-model "$(basename "$model")" "$(echo "$sum" | cut -c 1-12)" "$(printf ', "hashes": [{"alg": "SHA-256", "content": "%s"}]' "$sum")"
done
while read -r name version; do
  package "$name" "$version" ', "properties": [{"name": "denoised:linked", "value": "headers compiled in"}]'
done <"$here/compiled_in"
dpkg-query -W -f='${db:Status-Status} ${Package} ${Version}\n' | sed -n 's/^installed //p' |
  while read -r name version; do package "$name" "$version"; done
printf '\n  ]\n}\n'
