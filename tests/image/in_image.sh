#!/bin/bash
# in_image.sh ROOT [GROUP...] [FOLDER:PLACE...] -- PROGRAM [ARGUMENT...]
#
# Runs a program as a container runtime would, without one: as process 1 of its own, in the folder that an image is
# mounted at, read-only, as user 10001 without capabilities, and in the control groups GROUP, whose limits whoever
# calls this has set. Each FOLDER of this machine is a volume, at a PLACE that the image's folder has. As root. It ends with
# whoever runs this.
set -eu
root=$1 && shift
volumes=()
while [[ $1 != -- ]]; do
  if [[ $1 == *:* ]]; then volumes+=("$1"); else echo $$ >"$1/cgroup.procs"; fi
  shift
done
# shellcheck disable=SC2016  # for the inner shell
exec unshare --mount --pid --fork --kill-child bash -c '
  root=$1 && shift
  mount --bind "$root" "$root" && mount -o remount,bind,ro "$root"
  while [[ $1 != -- ]]; do
    mount --bind "${1%:*}" "$root${1#*:}" || exit
    shift
  done
  shift
  mount -t proc proc "$root/proc"
  mount --rbind /sys/fs/cgroup "$root/sys/fs/cgroup" 2>/dev/null || mount --rbind /sys "$root/sys"
  # keep: a change of user takes back what --kill-child has asked for.
  exec chroot "$root" setpriv --pdeathsig keep --reuid 10001 --regid 10001 --clear-groups --no-new-privs --bounding-set=-all \
    --inh-caps=-all "$@"' sh "$root" "${volumes[@]}" "$@"
