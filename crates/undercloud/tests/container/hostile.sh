#!/bin/sh
# Root inside a machine that means harm, or is careless. Each line says what was tried and what came.
PATH=/bin
tried() { # what, command: it must be refused
  what=$1
  shift
  if "$@" > /tmp/out 2>&1; then echo "OPEN $what"; else echo "refused $what: $(head -n1 /tmp/out)"; fi
}
node() { # path, kind, major, minor
  mknod "$@" && { head -c1 "$1" > /dev/null || true > "$1"; }
}
writes() { echo "$2" > "$1"; }

echo "init is $$ of $(ls -d /proc/[0-9]* | wc -l)"
echo "container=$container"
echo "root is $(cat /proc/mounts | grep ' / ' | cut -d' ' -f3)"
echo "disks: $(ls /sys/class/block | tr '\n' ' ')"
echo "serials: $(cat /sys/block/vd?/serial | tr '\n' ' ')"
echo "sizes: $(cat /sys/block/vd?/size | tr '\n' ' ')"
echo "data: $(head -c 6 /dev/vdb 2>&1)"
echo "cards: $(ls /sys/class/net | tr '\n' ' ')"
# Of file systems on disks, its own alone: a handle to any file of another reaches all of that.
echo "file systems on disks: $(sed 's/.* - //' /proc/self/mountinfo | grep -c '^\(ext4\|xfs\|btrfs\|overlay\)')"
echo "boot id $(cat /proc/sys/kernel/random/boot_id)"
echo "cmdline [$(cat /proc/cmdline)]"

# busybox says that it could not, and ends well.
sets_clock() { date -s 2020-01-01; [ "$(date +%Y)" = 2020 ]; }
tried clock sets_clock
tried kvm node /tmp/kvm c 10 232
tried "loop control" node /tmp/loop-control c 10 237
tried mem node /tmp/mem c 1 1
tried kmsg node /tmp/kmsg c 1 11
# Disks of the host by their kinds: SCSI, virtio, NVMe, device mapper, and loop devices of others.
for major in 8 252 253 254 259; do tried "disk $major:0" node /tmp/d$major b $major 0; done
others=0
for minor in $(seq 0 63); do
  own=$(cat /sys/class/block/*/dev | grep -c "^7:$minor$")
  [ "$own" = 0 ] && node /tmp/loop$minor b 7 $minor 2> /dev/null && others=$((others + 1))
done
echo "loop devices of others that open: $others"
tried "sysctl kernel" writes /proc/sys/kernel/printk_delay 1
tried "sysctl fs" writes /proc/sys/fs/file-max 1000000
tried "sysctl vm" writes /proc/sys/vm/swappiness 1
# What it mounts for itself asks the same kernel. Each value is the one that is there.
mkdir -p /tmp/proc
mount -t proc none /tmp/proc
same() { writes "$1" "$(cat "$1")"; }
tried "sysctl of its own proc" same /tmp/proc/sys/kernel/printk_ratelimit
umount /tmp/proc
mount -o remount,rw,bind /proc/sys
tried "sysctl made writable" same /proc/sys/vm/swappiness
mount -o remount,ro,bind /proc/sys
grep -q '^Seccomp:.*2' /proc/self/status && grep -q '^NoNewPrivs:.*0' /proc/self/status && echo "calls are filtered, sudo works"
tried swapon swapon /tmp/out
tried sysrq writes /proc/sysrq-trigger h
tried sysfs writes /sys/kernel/mm/transparent_hugepage/enabled never
tried module insmod /tmp/none.ko
tried "kernel's log" dmesg
mkdir -p /tmp/devices /tmp/own
if mount -t cgroup -o devices none /tmp/devices 2> /dev/null; then
  tried "device list" writes /tmp/devices/devices.allow a
  mkdir /tmp/devices/below
  tried "device list below" writes /tmp/devices/below/devices.allow a
else
  echo "no device list of version 1"
fi
# The host runs what `release_agent` of a tree's root names.
agents=0
for tree in freezer cpuset blkio net_cls net_prio perf_event hugetlb pids cpu memory devices none,name=systemd; do
  mkdir -p "/tmp/tree-$tree"
  mount -t cgroup -o "$tree" none "/tmp/tree-$tree" 2> /dev/null && [ -e "/tmp/tree-$tree/release_agent" ] \
    && agents=$((agents + 1)) && echo "release_agent of $tree"
done
echo "release agents: $agents"
# Its own, where the host has them; those that hold are one level above, and the test looks at them.
for limit in memory.max pids.max; do echo max > "/sys/fs/cgroup/$limit"; done 2> /dev/null
mkdir -p /tmp/groups
mount -t cgroup2 none /tmp/groups
tried "the group above its own" test -e /tmp/groups/m
tried "groups of the host" test -e /tmp/groups/undercloud
tried "processes of the host" test -e /proc/$((0 + $(cat /proc/sys/kernel/pid_max) - 1))
echo "sysctl net: $(cat /proc/sys/net/ipv4/ip_forward) then $(echo 1 > /proc/sys/net/ipv4/ip_forward; cat /proc/sys/net/ipv4/ip_forward)"
echo "dev is $(stat -c %a /dev) null $(stat -c %a /dev/null)"
# Before the word: the button may be pressed as soon as that is read.
trap 'echo BUTTON; sync; poweroff -f' 38
echo "HOSTILE DONE"
# What comes on the console is a command of the test.
while read -r word; do
  case $word in
    reboot) sync; reboot -f ;;
    poweroff) sync; poweroff -f ;;
    crash) exit 1 ;;
    fork) sh -c 'while :; do sleep 1; done' & echo forked ;;
  esac
done < /dev/console
