#!/bin/sh
# First program of an installed machine: loads the drivers of its disks, finds the root file system
# by its id and hands over to systemd, which checks it and makes it writable.
export PATH=/bin

mount -t devtmpfs -o mode=0755 devtmpfs /dev
mount -t proc -o nosuid,nodev,noexec proc /proc
mount -t sysfs -o nosuid,nodev,noexec sysfs /sys
mount -t tmpfs -o mode=0755,nosuid,nodev tmpfs /run

uuid=
read -r arguments < /proc/cmdline
for argument in $arguments; do
    case $argument in
        root=UUID=*) uuid=${argument#root=UUID=} ;;
    esac
done

# A loaded driver may bring new devices, and disks may take a while to show themselves.
device=
tries=0
# Not empty: busybox takes an empty list for one that fits everything.
echo none > /run/tried
while [ "$tries" -lt 300 ]; do
    find /sys/devices -name modalias -exec cat {} + | sort -u | grep -vxF -f /run/tried > /run/new
    if [ -s /run/new ]; then
        # Words of one modalias never hold blanks.
        modprobe -a -q $(cat /run/new) 2> /dev/null
        cat /run/new >> /run/tried
    fi
    device=$(findfs "UUID=$uuid" 2> /dev/null) && break
    tries=$((tries + 1))
    sleep 0.1
done

if [ -n "$device" ] && modprobe -a crypto-crc32c ext4 && mount -t ext4 -o ro "$device" /sysroot; then
    for dir in dev proc sys run; do
        mount -o move "/$dir" "/sysroot/$dir"
    done
    exec switch_root /sysroot /sbin/init
fi

echo "No root file system with the id '$uuid' was found; these disks are there:"
cat /proc/partitions
exec sh
