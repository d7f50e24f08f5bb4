#!/usr/bin/env bash
# Runs a command under another kernel of Debian's, in an emulated machine of two processors:
#
#   tools/run_on_kernel.sh KERNEL COMMAND [ARGUMENT…]
#   tools/run_on_kernel.sh linux-image-6.1.0-56-amd64 build/release/fanfare version
#
# KERNEL is a package (apt-cache search '^linux-image-6'); its files are fetched, not installed. The
# command sees this machine's files, and what it changes is gone at its end. It runs in the folder
# from which this was called, as root, with 6 GiB, loopback as the only network and SECONDS_MAX
# (default 1800) of time. Emulation costs a factor of ten to thirty, so tests that measure time fail.
# Ends with the command's exit code. Needs root, and the packages qemu-system-x86, busybox-static
# and cpio.
set -euo pipefail
[ $# -ge 2 ] || { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"; exit 2; }

package=$1
shift
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
(cd "$folder" && apt-get download -qq "$package" 2>/dev/null && dpkg -x "$package"_*.deb kernel)

# The modules for the machine's files, in the order in which they need each other.
modules=(virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci
    netfs fscache 9pnet 9pnet_virtio 9p overlay)
root=$folder/root
mkdir -p "$root"/{bin,modules,proc,sys,dev,host,changes,all}
cp /bin/busybox "$root/bin/"
for name in "${modules[@]}"; do
    # Some are built in, or do not exist in every version.
    file=$(find "$folder/kernel/lib/modules" -name "$name.ko*" | head -n 1)
    case $file in
    *.xz) xz -dc "$file" >"$root/modules/$name.ko" ;;
    ?*) cp "$file" "$root/modules/" ;;
    esac
done
{
    printf 'cd %q\n' "$PWD"
    printf '%q ' "$@"
} >"$root/command"
cat >"$root/init" <<EOF
#!/bin/busybox sh
/bin/busybox --install /bin
mount -t proc proc /proc && mount -t sysfs sys /sys && mount -t devtmpfs dev /dev
for name in ${modules[*]}; do
    if [ -f /modules/\$name.ko ]; then insmod /modules/\$name.ko; fi
done
mount -t 9p -o trans=virtio,version=9p2000.L,ro,cache=loose,msize=512000 host /host
mount -t tmpfs tmpfs /changes && mkdir /changes/upper /changes/work
mount -t overlay -o lowerdir=/host,upperdir=/changes/upper,workdir=/changes/work overlay /all
mount -t proc proc /all/proc && mount -t sysfs sys /all/sys && mount -t devtmpfs dev /all/dev
mkdir -p /all/dev/pts /all/dev/shm
mount -t devpts devpts /all/dev/pts && mount -t tmpfs tmpfs /all/dev/shm
mount -t tmpfs tmpfs /all/tmp && cp /command /all/tmp/
ip link set lo up
ulimit -n 1048576
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
chroot /all /bin/bash /tmp/command
echo "exit code \$?"
poweroff -f
EOF
chmod +x "$root/init"
(cd "$root" && find . | cpio -o -H newc 2>/dev/null | gzip) >"$folder/initrd"

timeout -s KILL "${SECONDS_MAX:-1800}" \
    qemu-system-x86_64 -accel tcg,thread=single -cpu max -smp 2 -m 6G -no-reboot \
    -kernel "$folder"/kernel/boot/vmlinuz* -initrd "$folder/initrd" \
    -append 'console=ttyS0 quiet panic=-1 no_timer_check' \
    -fsdev local,id=host,path=/,security_model=none,readonly=on,multidevs=remap \
    -device virtio-9p-pci,fsdev=host,mount_tag=host \
    -nic none -display none -serial stdio -monitor none </dev/null | tee "$folder/console" || true
code=$(sed -n 's/^exit code \([0-9]*\).*/\1/p' "$folder/console" | tail -n 1)
exit "${code:-1}"
