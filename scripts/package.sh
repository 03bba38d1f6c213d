#!/usr/bin/env bash
# Makes Debian packages for the Debian that this is: denoised, denoised-client and libdenoised-dev, built without LibTorch
# and OpenCV, and denoised-trainer, built with them.
#
#   scripts/package.sh [--serving|--trainer] [CMAKE-OPTION...]    into build/packages; --serving leaves the trainer out,
#                                                                 --trainer all else
set -euo pipefail
# shellcheck source=common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

# pack PRESET [CMAKE-OPTION...]
pack() {
  local preset=$1
  shift
  stage "Configuring, $preset" "configure-$preset.log" configure "$preset" -DDENOISED_BUILD_TESTS=OFF "$@"
  stage "Building, $preset" "build-$preset.log" build "$preset"
  stage "Packing, $preset" "pack-$preset.log" cpack --config "$root/build/$preset/CPackConfig.cmake" -B "$root/build/packages"
}

presets=(serving trainer) setup=()
case ${1-} in
  --serving) presets=(serving) setup=(--serving) && shift ;;
  --trainer) presets=(trainer) && shift ;;
esac

trap stop_ticker EXIT
"$root/scripts/setup.sh" --packages "${setup[@]}"
rm -rf "$root/build/packages"
for preset in "${presets[@]}"; do pack "$preset" "$@"; done
rm -rf "$root/build/packages/_CPack_Packages"
ls -l "$root"/build/packages/*.deb
