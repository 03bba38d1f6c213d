#!/bin/sh
# For the Dockerfile: installs the packages that scripts/package.sh has made, lists all that is inside, and leaves nothing
# else behind.
set -eu
cd "$(dirname "$0")/../.."
apt-get update
apt-get install -y --no-install-recommends ca-certificates ./build/packages/denoised_*.deb ./build/packages/denoised-client_*.deb
/usr/share/denoised/sbom.sh >/usr/share/denoised/sbom.cdx.json
rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/apt /var/log/dpkg.log /var/cache/debconf/*-old
