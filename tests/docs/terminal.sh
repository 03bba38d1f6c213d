#!/usr/bin/env bash
# The README's picture of a terminal, from a real server and in a real xterm, which shows sixels:
#
#   tests/docs/terminal.sh docs/terminal.png    with build/release, and Debian's xterm, xvfb, imagemagick, fonts-dejavu-core
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../scripts/common.sh"

(($# == 1)) || die "usage: tests/docs/terminal.sh PNG"
for program in Xvfb xterm import; do
  command -v "$program" >/dev/null || die "There is no $program: apt install xterm xvfb imagemagick fonts-dejavu-core"
done
work=$(mktemp -d)
pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true; rm -rf "$work"' EXIT

PATH=$root/build/release/bin:$PATH
start_and_await "$work/log" denoised --listen 127.0.0.1:0 --metrics_listen 127.0.0.1:0
pids+=("$server")

mkfifo "$work/display"
Xvfb -displayfd 3 -screen 0 960x600x24 -nolisten tcp 3>"$work/display" 2>/dev/null &
pids+=($!)
read -r DISPLAY <"$work/display"
export DISPLAY=:$DISPLAY

# What a person would type. The terminal answers a question about its cursor once it has drawn all that came before.
cat >"$work/session" <<END
cd "$work"
printf '\$ denoise watch 7 --seed 42\n'
DENOISE_SERVER=$address denoise watch 7 --seed 42
stty -echo
printf '\$ \e[6n'
read -rsd R
touch "$work/ready"
sleep 1000
END
xterm -T denoise -ti vt340 -xrm 'XTerm*numColorRegisters: 256' -fa 'DejaVu Sans Mono' -fs 13 -geometry 80x19 -b 14 +sb \
  -bg '#16181d' -fg '#d8dce4' -cr '#d8dce4' -e bash "$work/session" 2>/dev/null &
pids+=($!)
until [[ -e $work/ready ]]; do kill -0 $! && sleep 0.1; done
import -window denoise -strip -colors 64 "PNG8:$1"
