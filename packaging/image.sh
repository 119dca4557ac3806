#!/usr/bin/env bash
# Makes the box as an image that is written to a disk or card and boots: Debian, its kernel, the program's package and a board's profile. Everything
# but the folder of data and the settings is read only, and nobody can log in. As root, on a Debian with a network.
#
#     packaging/image.sh --board NAME --deb thorax-edge_..._arm64.deb [--profile FILE] [--trust FILE] [--data-mebibytes N] OUT.img
#
# --profile is the site's own profile, --trust a file of further public keys of bundles, as for kit.sh. The image has room for N MiB of data
# (2048); at its first start the box takes the rest of the disk as well.
#
#     partition 1  ESP         systemd-boot, kernel, initial file system     what firmware starts
#     partition 2  root        squashfs                                      cannot be written, so no power cut can spoil it
#     partition 3  data        ext4: /var/lib/thorax, /etc/thorax, clock     what a power cut may meet
#
# Which boards have an image is said by an image.conf in their folder. MAKE_ROOT=FOLDER keeps the root for the next call, which then
# installs only the package anew.
set -euo pipefail
here=$(realpath "$(dirname "$0")")
export PATH=$PATH:/usr/sbin:/sbin

usage() { sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2; }
fail() { echo "image.sh: $*" >&2; exit 1; }
board='' deb='' profile='' trust='' mebibytes=2048 out=''
while [ $# -gt 0 ]; do
    case "$1" in
    --board) board=${2:-}; shift ;;
    --deb) deb=${2:-}; shift ;;
    --profile) profile=${2:-}; shift ;;
    --trust) trust=${2:-}; shift ;;
    --data-mebibytes) mebibytes=${2:-}; shift ;;
    -* | '') usage ;;
    *) [ -z "$out" ] || usage; out=$1 ;;
    esac
    shift
done
[ -n "$board" ] && [ -n "$deb" ] && [ -n "$out" ] || usage
case "$mebibytes" in *[!0-9]* | '') usage ;; esac
[ "$mebibytes" -ge 1280 ] || fail "--data-mebibytes $mebibytes: 1280 is the least, since journal.reserve_bytes keeps 1 GiB free"
settings=$here/../boards/$board/image.conf
[ -r "$settings" ] || fail "there is no image of the board '$board', only the package and the kit; boards with one: $(cd "$here/../boards" &&
    echo */image.conf | sed 's|/image.conf||g')"
for file in "$deb" ${profile:+"$profile"} ${trust:+"$trust"}; do
    [ -r "$file" ] || fail "cannot read $file"
done
[ "$(id -u)" -eq 0 ] || fail "has to be run as root: it makes a root's files with their owners"
deb=$(realpath "$deb") out=$(realpath -m "$out")

boot='' architecture='' kernel='' loader='' command_line=''
# shellcheck source=/dev/null
. "$settings"
[ "$boot" = uefi ] || fail "$settings: boot=$boot is not known"
[ "$(dpkg-deb -f "$deb" Architecture)" = "$architecture" ] || fail "$deb is no package for $architecture: packaging/deb.sh --target aarch64-unknown-linux-gnu"

work=$(mktemp -d "$(dirname "$out")/.image-XXXXXX")
current=start
trap 'code=$?; [ $code -eq 0 ] || echo "=== FAILED: image.sh: $current" >&2; rm -rf "$work"; exit $code' EXIT
step() {
    local started=$SECONDS
    current=$1
    shift
    echo "=== $current"
    "$@"
    echo "=== $current: $((SECONDS - started)) s"
}
root=${MAKE_ROOT:-$work/root}
# With a /proc that goes with the namespace: one that stayed could be deleted or copied with the root.
inside() {
    unshare --mount sh -c 'mount -t proc proc "$1/proc"; root=$1; shift; exec chroot "$root" /usr/bin/env -i "$@"' - "$root" \
        PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C DEBIAN_FRONTEND=noninteractive "$@"
}

tools() {
    local command package missing=()
    while read -r command package; do
        command -v "$command" >/dev/null || missing+=("$package")
    done <<<'mmdebstrap mmdebstrap
mksquashfs squashfs-tools
mformat mtools
mkfs.ext4 e2fsprogs
mkfs.vfat dosfstools
sfdisk fdisk
qemu-aarch64-static qemu-user-static'
    [ "${#missing[@]}" -eq 0 ] || { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"; }
    # The kernel hands programs of another architecture to qemu where it was told so; a machine that starts systemd was, by systemd-binfmt.
    if [ "$(dpkg --print-architecture)" != "$architecture" ]; then
        mountpoint -q /proc/sys/fs/binfmt_misc || mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc
        [ -e /proc/sys/fs/binfmt_misc/qemu-aarch64 ] || cat /usr/lib/binfmt.d/qemu-aarch64.conf >/proc/sys/fs/binfmt_misc/register
    fi
}

# No login, no shell on the network: the fewest packages with which the box starts, has an address, the time, and names of hosts.
debian() {
    [ -e "$root/etc/debian_version" ] && { echo "as it is in $root"; return; }
    # The kernel's package and others would each make an initial file system (INITRD), by the thousand small programs under emulation.
    INITRD=No mmdebstrap --quiet --variant=minbase --architectures="$architecture" --include=systemd,systemd-sysv,systemd-resolved,systemd-timesyncd,udev,kmod \
        --include="$kernel,$loader,initramfs-tools,zstd,e2fsprogs" \
        --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/info/*' \
        --essential-hook='mkdir -p "$1/etc/initramfs-tools" && echo squashfs >"$1/etc/initramfs-tools/modules"' \
        bookworm "$root"
}

initial_file_system() {
    local version
    version=$(basename "$(ls -d "$root"/boot/vmlinuz-*)" | sed 's/^vmlinuz-//')
    [ -e "$root/boot/initrd.img-$version" ] || inside update-initramfs -c -k "$version"
}

# With a number that is the same in every image: the data outlives the root.
program() {
    inside getent passwd thorax >/dev/null ||
        inside useradd --system --uid 900 --user-group --home-dir /var/lib/thorax --no-create-home --shell /usr/sbin/nologin thorax
    rm -rf "$root/etc/thorax"
    cp "$deb" "$root/thorax-edge.deb"
    inside env THORAX_BOARD="$board" dpkg -i /thorax-edge.deb
    rm "$root/thorax-edge.deb"
    [ -z "$profile" ] || install -m 644 "$profile" "$root/etc/thorax/board/profile.toml"
    [ -z "$trust" ] || install -m 644 "$trust" "$root/etc/thorax/trusted.keys"
    inside thorax-edge --version
}

system() {
    mkdir -p "$root/data" "$root/etc/systemd/network" "$root/etc/systemd/system.conf.d" "$root/etc/systemd/journald.conf.d" \
        "$root/etc/systemd/resolved.conf.d" "$root/etc/repart.d" "$root/etc/systemd/system/thorax.service.d"
    echo thorax >"$root/etc/hostname"
    printf '127.0.0.1 localhost thorax\n::1 localhost thorax\n' >"$root/etc/hosts"
    # A root that cannot be written has no number of its own: each start takes another one.
    : >"$root/etc/machine-id"
    ln -sf /run/systemd/resolve/stub-resolv.conf "$root/etc/resolv.conf"
    cat >"$root/etc/fstab" <<'FSTAB'
/dev/disk/by-partlabel/thorax-root  /                 squashfs  ro                                                          0 0
/dev/disk/by-partlabel/thorax-data  /data             ext4      noatime,nodev,nosuid,noexec,errors=remount-ro,x-systemd.growfs  0 2
/data/thorax                        /var/lib/thorax   none      bind,x-systemd.requires-mounts-for=/data                    0 0
/data/settings                      /etc/thorax       none      bind,x-systemd.requires-mounts-for=/data                    0 0
/data/systemd                       /var/lib/systemd  none      bind,x-systemd.requires-mounts-for=/data                    0 0
tmpfs                               /tmp              tmpfs     nodev,nosuid,noexec,mode=1777,size=25%                      0 0
tmpfs                               /var/tmp          tmpfs     nodev,nosuid,noexec,mode=1777,size=25%                      0 0
tmpfs                               /var/log          tmpfs     nodev,nosuid,noexec,mode=755,size=5%                        0 0
FSTAB
    # The rest of the disk is the data's. Partitions are known by their kind: there is one of this.
    printf '[Partition]\nType=linux-generic\nLabel=thorax-data\n' >"$root/etc/repart.d/50-data.conf"
    # Any cable, by DHCP. A site with fixed addresses changes these lines in the image.
    printf '[Match]\nType=ether\n\n[Network]\nDHCP=yes\nLLMNR=no\nMulticastDNS=no\n' >"$root/etc/systemd/network/80-cable.network"
    printf '[Resolve]\nLLMNR=no\nMulticastDNS=no\n' >"$root/etc/systemd/resolved.conf.d/10-thorax.conf"
    # A box that hangs starts anew, where its board has a watchdog.
    printf '[Manager]\nRuntimeWatchdogSec=60\nRebootWatchdogSec=10min\n' >"$root/etc/systemd/system.conf.d/10-thorax.conf"
    # Logs stay in memory; warnings and what the program says can be read at the serial console, without a login.
    printf '[Journal]\nStorage=volatile\nRuntimeMaxUse=32M\nForwardToConsole=yes\nTTYPath=/dev/console\nMaxLevelConsole=info\n' \
        >"$root/etc/systemd/journald.conf.d/10-thorax.conf"
    # Without its data the program must not start: it would keep films in memory.
    printf '[Unit]\nRequiresMountsFor=/data /var/lib/thorax /etc/thorax\n' \
        >"$root/etc/systemd/system/thorax.service.d/20-image.conf"
    inside systemctl enable --quiet systemd-networkd systemd-resolved systemd-timesyncd thorax
    # A network that is not there must not hold up a box that works without one.
    inside systemctl mask --quiet systemd-networkd-wait-online.service
    # Nobody logs in: no password, no terminal that asks for one, and none after a failure either.
    inside passwd --quiet --lock root
    inside systemctl mask --quiet getty.target console-getty.service getty@.service serial-getty@.service autovt@.service \
        emergency.service rescue.service debug-shell.service systemd-firstboot.service \
        apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service
    ! grep -E '^[^:]*:[^!*]' "$root/etc/shadow" || fail "an account has a password"
}

partitions() {
    local version size_of_data esp_sectors root_sectors data_sectors start uuid
    version=$(basename "$(ls -d "$root"/boot/vmlinuz-*)" | sed 's/^vmlinuz-//')
    # The settings and the folder of data go to their partition, and leave the place where they are mounted.
    mkdir -p "$work/data/systemd"
    cp -a "$root/etc/thorax" "$work/data/settings"
    cp -a "$root/var/lib/thorax" "$work/data/thorax"
    cp -a "$root/var/lib/systemd/." "$work/data/systemd"
    mksquashfs "$root" "$work/root.squashfs" -quiet -no-progress -comp zstd -noappend -wildcards \
        -e 'boot/*' 'proc/*' 'sys/*' 'dev/*' 'run/*' 'tmp/*' 'var/cache/*' 'var/lib/apt/lists/*' 'var/log/*' 'etc/thorax/*' 'var/lib/thorax/*'

    truncate -s 128M "$work/esp.vfat"
    mkfs.vfat -F 32 -n THORAX-ESP "$work/esp.vfat" >/dev/null
    export MTOOLS_SKIP_CHECK=1
    mmd -i "$work/esp.vfat" ::EFI ::EFI/BOOT ::loader ::loader/entries
    mcopy -i "$work/esp.vfat" "$root/usr/lib/systemd/boot/efi/systemd-bootaa64.efi" ::EFI/BOOT/BOOTAA64.EFI
    mcopy -i "$work/esp.vfat" "$root/boot/vmlinuz-$version" ::vmlinuz
    mcopy -i "$work/esp.vfat" "$root/boot/initrd.img-$version" ::initrd
    uuid=$(cat /proc/sys/kernel/random/uuid)
    # Without the editor nobody changes the command line at the keyboard, which would be a login.
    printf 'timeout 0\neditor no\nauto-firmware no\n' | mcopy -i "$work/esp.vfat" - ::loader/loader.conf
    printf 'title Thorax\nlinux /vmlinuz\ninitrd /initrd\noptions root=PARTUUID=%s rootfstype=squashfs ro systemd.gpt_auto=0 panic=10 fsck.repair=yes %s\n' \
        "$uuid" "$command_line" | mcopy -i "$work/esp.vfat" - ::loader/entries/thorax.conf

    truncate -s "${mebibytes}M" "$work/data.ext4"
    mkfs.ext4 -q -L thorax-data -d "$work/data" -E lazy_itable_init=0 "$work/data.ext4"

    local megabyte=2048
    esp_sectors=$(($(stat -c %s "$work/esp.vfat") / 512))
    # Twice the room: a later root is written into the same place.
    root_sectors=$(((($(stat -c %s "$work/root.squashfs") * 2 / 512) / megabyte + 1) * megabyte))
    data_sectors=$((mebibytes * megabyte))
    rm -f "$work/disk"
    truncate -s $(((megabyte + esp_sectors + root_sectors + data_sectors + megabyte) * 512)) "$work/disk"
    sfdisk --quiet "$work/disk" <<TABLE
label: gpt
start=$megabyte, size=$esp_sectors, type=uefi, name=thorax-esp
start=$((megabyte + esp_sectors)), size=$root_sectors, type=B921B045-1DF0-41C3-AF44-4C6F280D3FAE, name=thorax-root, uuid=$uuid
start=$((megabyte + esp_sectors + root_sectors)), size=$data_sectors, type=linux, name=thorax-data
TABLE
    start=$megabyte
    dd if="$work/esp.vfat" of="$work/disk" bs=1M seek=$((start / megabyte)) conv=notrunc,sparse status=none
    start=$((start + esp_sectors))
    dd if="$work/root.squashfs" of="$work/disk" bs=1M seek=$((start / megabyte)) conv=notrunc,sparse status=none
    start=$((start + root_sectors))
    dd if="$work/data.ext4" of="$work/disk" bs=1M seek=$((start / megabyte)) conv=notrunc,sparse status=none
    sync "$work/disk"
    mv "$work/disk" "$out"
    echo "kernel $version"
    echo "root $(($(stat -c %s "$work/root.squashfs") >> 20)) MiB, image $(($(stat -c %s "$out") >> 20)) MiB of which $(du -m "$out" | cut -f 1) MiB are written"
}

step "tools" tools
step "Debian" debian
step "the initial file system" initial_file_system
step "the program" program
step "the system" system
step "the image" partitions
echo "$out"
