#!/bin/sh
# install_in_image.sh PACKAGE...
#
# For the Dockerfile: installs packages that scripts/package.sh has made, lists all that is inside, and leaves nothing else
# behind. The first one is the server or the trainer, which have what makes that list.
set -eu
cd "$(dirname "$0")/../.."
first=$1
for package; do
  shift
  set -- "$@" ./build/packages/"$package"_*.deb
done
apt-get update
apt-get install -y --no-install-recommends ca-certificates "$@"
/usr/share/"$first"/sbom.sh >/usr/share/denoised/sbom.cdx.json
rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/apt /var/log/dpkg.log /var/cache/debconf/*-old
