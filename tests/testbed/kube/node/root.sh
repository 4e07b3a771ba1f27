#!/bin/bash
# usage: root.sh STATE COMMAND...
# Runs in the node's own mount namespace: builds a root that is separate from the machine's, and runs COMMAND in it.
#
# The node is "the host" that a test's attacker escapes to, and such an attacker writes to the host's disk, devices and
# kernel settings. Therefore:
# - the machine's files are the lower layer of an overlay; writes go to memory and are lost with the node;
# - /dev has only harmless devices, no disks;
# - /proc/sys is read-only except for the network part, which belongs to the node. The kubelet must write a few
#   settings: it gets regular files in their place.
# A privileged container can still mount its own /proc or cgroup hierarchy and reach the machine's kernel through it
# (core_pattern, release_agent): a test must not try these two.
set -euo pipefail
state=$1
shift
mount --make-rprivate /
new=$state/root
mkdir -p "$new"
mount -t tmpfs -o size=512m,mode=700 overlay-upper "$new"
mkdir "$new"/{upper,work,merged}
mount -t overlay -o "lowerdir=/,upperdir=$new/upper,workdir=$new/work" node-root "$new/merged"
new=$new/merged

# The overlay covers only the machine's root file system; other disks are bind-mounted read-only.
findmnt -rn -o TARGET -t ext4,xfs,btrfs,zfs,f2fs | while read -r target; do
    case $target in / | "$state"*) continue ;; esac
    [ -d "$target" ] || continue
    mkdir -p "$new$target"
    mount --bind "$target" "$new$target"
    mount -o remount,bind,ro "$new$target"
done

mkdir -p "$new$state"
mount --bind "$state" "$new$state"
mount -t tmpfs -o mode=755 run "$new/run"

mount -t tmpfs -o mode=755 dev "$new/dev"
for device in null zero full random urandom tty kmsg; do
    touch "$new/dev/$device"
    mount --bind "/dev/$device" "$new/dev/$device"
done
mkdir "$new"/dev/{pts,shm,mqueue}
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$new/dev/pts"
mount -t tmpfs shm "$new/dev/shm"
ln -s pts/ptmx "$new/dev/ptmx"
ln -s /proc/self/fd "$new/dev/fd"
for number in 0:stdin 1:stdout 2:stderr; do ln -s "/proc/self/fd/${number%:*}" "$new/dev/${number#*:}"; done

mount -t proc proc "$new/proc"
settings=$state/settings
mkdir -p "$settings"
for setting in vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops \
    kernel/keys/root_maxkeys kernel/keys/root_maxbytes; do
    copy=$settings/${setting//\//.}
    cat "/proc/sys/$setting" >"$copy"
    mount --bind "$copy" "$new/proc/sys/$setting"
done
mount --rbind "$new/proc/sys" "$new/proc/sys"
mount -o remount,bind,ro "$new/proc/sys"
mount --bind "$new/proc/sys/net" "$new/proc/sys/net"
mount -o remount,bind,rw "$new/proc/sys/net"

mount -t sysfs sysfs "$new/sys"
mount --rbind /sys/fs/cgroup "$new/sys/fs/cgroup"
# Writes to these files affect the whole machine, or make the kernel run programs outside every namespace.
touch "$settings/inert"
for file in /proc/sysrq-trigger /sys/kernel/uevent_helper /sys/power/state /sys/fs/cgroup/*/release_agent; do
    [ ! -e "$new$file" ] || mount --bind "$settings/inert" "$new$file"
done
# For a collector that runs in the node as it would on a host.
mount -t bpf bpf "$new/sys/fs/bpf" 2>/dev/null || true
mount -t tracefs tracefs "$new/sys/kernel/tracing" 2>/dev/null || true

cd "$new"
mkdir -p .machine
pivot_root . .machine
cd /
umount -l /.machine
rmdir /.machine
mount --make-rshared /
exec "$@"
