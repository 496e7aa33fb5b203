#!/bin/bash
# node-init.sh NAME DIR : the first process of a node, in the node's own mount and UTS namespace and its instance's network namespace.
# kubelet, containerd and CNI have hard-coded paths: the node gets its own copies of them, and all its mounts vanish with its last process.
set -e
name=$1 dir=$2
hostname "$name"
# a sysfs that shows this network namespace, with the host's cgroup hierarchies back in place
mkdir -p "$dir/cgroup"
mount --rbind /sys/fs/cgroup "$dir/cgroup"
mount -t sysfs sysfs /sys
mount --rbind "$dir/cgroup" /sys/fs/cgroup
umount -R "$dir/cgroup"
# What the machine has mounted below /run would only be hidden: the runtime reads the list of mounts and takes it for the
# node's, and a namespace of another instance would live on in ours.
cut -d' ' -f5 /proc/self/mountinfo | grep '^/run/' | sort -u | while read -r at; do
  umount --recursive --lazy "$at" 2>/dev/null || true # gone with the one above it
done
while read -r from to; do mount --bind "$dir/$from" "$to"; done <<'MOUNTS'
log /var/log
kubelet /var/lib/kubelet
containerd /var/lib/containerd
cni-lib /var/lib/cni
cni-conf /etc/cni
cni-bin /opt/cni/bin
tideway-conf /etc/tideway
tideway-lib /var/lib/tideway
run /run
MOUNTS
# As systemd makes it: mounts of the runtime appear in containers that ask for them.
mount --make-rshared /run
# Every start of a node is a boot of its own.
cat /proc/sys/kernel/random/uuid > "$dir/boot_id"
mount --bind "$dir/boot_id" /proc/sys/kernel/random/boot_id
touch "$dir/ready"
exec sleep infinity
