#!/usr/bin/env bash
# Makes the box as an image that is written to a disk or card and boots: Debian, its kernel, the program's package and a board's profile. Everything
# but the folder of data and the settings is read only, and nobody can log in. As root, on a Debian with a network.
#
#     packaging/image.sh --board NAME --deb thorax-edge_..._arm64.deb [--profile FILE] [--trust FILE] [--data-mebibytes N] OUT.img
#
# --profile is the site's own profile, --trust a file of further public keys of bundles, as for kit.sh. The image has room for N MiB of data
# (2048); at its first start the box takes the rest of the disk as well.
#
#     partition 1  FAT         kernel, initial file system, what starts them what firmware starts
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

boot='' architecture='' suite='' kernel_suite='' packages=() modules=() device_trees=() devices=() unit='' command_line=''
# shellcheck source=/dev/null
. "$settings"
case "$boot" in
uefi) first_type=uefi ;;
# That of a disk of Windows: with a GPT the boot loader of a Raspberry Pi 5 looks for it (its log in github.com/raspberrypi/rpi-eeprom/issues/818).
raspberry-pi) first_type=EBD0A0A2-B9E5-4433-87C0-68B6B72699C7 ;;
*) fail "$settings: boot=$boot is not known" ;;
esac
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

# The same, with the shell and the small programs of this machine bound over the root's: making an initial file system starts some ten thousand, each a
# tenth of a second under emulation. Programs that go into it are not among them.
inside_quickly() {
    local libraries=/usr/lib/x86_64-linux-gnu code=0
    [ "$(uname -m)" = x86_64 ] && [ ! -e "$root$libraries" ] && [ ! -e "$root/lib64" ] || { inside "$@"; return; }
    mkdir -p "$root$libraries" "$root/lib64"
    ln -s "$libraries/ld-linux-x86-64.so.2" "$root/lib64/"
    libraries=$libraries unshare --mount sh -ec 'mount -t proc proc "$1/proc"; mount --bind "$libraries" "$1$libraries"
        for program in dash readlink realpath dirname basename mkdir cp ln mv rm cat touch sort cut tr sed grep find; do
            mount --bind "/usr/bin/$program" "$1/usr/bin/$program"
        done
        root=$1; shift; exec chroot "$root" /usr/bin/env -i "$@"' - "$root" PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C "$@" || code=$?
    rm -r "$root/lib64"
    rmdir "$root$libraries"
    return $code
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
fdtoverlay device-tree-compiler
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
    local hooks=()
    # Of the other suite the kernel alone is taken.
    [ -z "$kernel_suite" ] || hooks+=(
        --setup-hook="echo deb http://deb.debian.org/debian $kernel_suite main >\"\$1/etc/apt/sources.list.d/kernel.list\""
        --setup-hook="printf 'Package: linux-*\nPin: release n=$kernel_suite\nPin-Priority: 500\n' >\"\$1/etc/apt/preferences.d/kernel\""
    )
    # The kernel's package and others would each make an initial file system (INITRD), by the thousand small programs under emulation.
    INITRD=No mmdebstrap --quiet --variant=minbase --architectures="$architecture" --include=systemd,systemd-sysv,systemd-resolved,systemd-timesyncd,udev,kmod \
        --include="initramfs-tools,zstd,e2fsprogs,$(IFS=,; echo "${packages[*]}")" \
        --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/info/*' \
        "${hooks[@]}" "$suite" "$root"
}

initial_file_system() {
    version=$(basename "$root"/usr/lib/modules/*)
    [ -e "$root/boot/initrd.img-$version" ] && { echo "as it is in $root"; return; }
    printf '%s\n' squashfs "${modules[@]}" >"$root/etc/initramfs-tools/modules"
    # A board that names its modules needs no others on the way to its disk.
    [ "${#modules[@]}" -eq 0 ] || echo MODULES=list >"$root/etc/initramfs-tools/conf.d/modules"
    inside_quickly update-initramfs -c -k "$version"
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
    # A disk that comes late is waited for, since nobody is there to start the box again.
    cat >"$root/etc/fstab" <<'FSTAB'
/dev/disk/by-partlabel/thorax-root  /                 squashfs  ro                                                          0 0
/dev/disk/by-partlabel/thorax-data  /data             ext4      noatime,nodev,nosuid,noexec,errors=remount-ro,x-systemd.growfs,x-systemd.device-timeout=600  0 2
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
    printf '[Unit]\nRequiresMountsFor=/data /var/lib/thorax /etc/thorax\n\n[Service]\n%s\n' "$unit" \
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

# The first partition of firmware that starts by UEFI.
boot_uefi() {
    mmd -i "$fat" ::EFI ::EFI/BOOT ::loader ::loader/entries
    mcopy -i "$fat" "$root/usr/lib/systemd/boot/efi/systemd-bootaa64.efi" ::EFI/BOOT/BOOTAA64.EFI
    # Without the editor nobody changes the command line at the keyboard, which would be a login.
    printf 'timeout 0\neditor no\nauto-firmware no\n' | mcopy -i "$fat" - ::loader/loader.conf
    printf 'title Thorax\nlinux /vmlinuz\ninitrd /initrd\noptions %s\n' "$1" | mcopy -i "$fat" - ::loader/entries/thorax.conf
}

# That of a Raspberry Pi 5, which has its boot loader in an EEPROM. Each device tree is Debian's with the board's image.dtso laid over it; the boot
# loader takes the one whose name is that of its chip.
boot_raspberry_pi() {
    local tree
    dtc -q -@ -I dts -O dtb -o "$work/image.dtbo" "$(dirname "$settings")/image.dtso"
    for tree in "${device_trees[@]}"; do
        fdtoverlay -i "$root/usr/lib/modules/$version/dtb/$tree" -o "$work/$(basename "$tree")" "$work/image.dtbo"
        mcopy -i "$fat" "$work/$(basename "$tree")" ::
        drivers "$work/$(basename "$tree")"
    done
    printf 'arm_64bit=1\n# Names of device trees as Linux has them.\nupstream_kernel=1\nkernel=vmlinuz\ninitramfs initrd followkernel\n' |
        mcopy -i "$fat" - ::config.txt
    printf '%s\n' "$1" | mcopy -i "$fat" - ::cmdline.txt
}

# Tells which device of a device tree has which driver in this kernel, by its compatible names, and fails where one of `devices` has none or where one
# of `modules` is not in the initial file system.
drivers() {
    local names name driver module told='' none=''
    { sed -n 's/^alias of:N\*T\*C\([^ ]*\) \([^ ]*\)$/\1 \2/p' "$root/usr/lib/modules/$version/modules.alias"
        tr '\0' '\n' <"$root/usr/lib/modules/$version/modules.builtin.modinfo" | sed -n 's/^\([^.]*\)\.alias=of:N\*T\*C\(.*\)$/\2 \1/p'; } >"$work/drivers"
    while read -r names; do
        driver=''
        for name in $names; do
            [ -n "$driver" ] || driver=$(awk -v name="$name" '$1 == name { print $2; exit }' "$work/drivers")
        done
        if [ -n "$driver" ]; then told+=" ${names%% *} ($driver)"; else none+=" ${names%% *}"; fi
    done < <(dtc -q -I dtb -O dts "$1" | sed -n 's/^[[:space:]]*compatible = "\(.*\)";/\1/p' | sed 's/\\0/ /g; s/", "/ /g' | sort -u)
    echo "$(basename "$1"), $(fdtget "$1" / model): driven:$told"
    echo "$(basename "$1"): no module or built-in driver of this name (processors, clocks, parts of others among them):$none"
    for name in "${devices[@]}"; do
        case "$told " in *" $name ("*) ;; *) fail "the kernel $version has no driver for $name, which $(basename "$settings") wants" ;; esac
    done
    inside lsinitramfs "/boot/initrd.img-$version" >"$work/initrd.list"
    for module in "${modules[@]}"; do
        grep -qE "/${module//[-_]/[-_]}\.ko" "$work/initrd.list" || grep -qE "/${module//[-_]/[-_]}\.ko" "$root/usr/lib/modules/$version/modules.builtin" ||
            fail "the initial file system lacks the module $module"
    done
}

partitions() {
    local boot_sectors root_sectors data_sectors start uuid fat=$work/boot.vfat
    # The settings and the folder of data go to their partition, and leave the place where they are mounted.
    mkdir -p "$work/data/systemd"
    cp -a "$root/etc/thorax" "$work/data/settings"
    cp -a "$root/var/lib/thorax" "$work/data/thorax"
    cp -a "$root/var/lib/systemd/." "$work/data/systemd"
    mksquashfs "$root" "$work/root.squashfs" -quiet -no-progress -comp zstd -noappend -wildcards \
        -e 'boot/*' 'proc/*' 'sys/*' 'dev/*' 'run/*' 'tmp/*' 'var/cache/*' 'var/lib/apt/lists/*' 'var/log/*' 'etc/thorax/*' 'var/lib/thorax/*' \
        'usr/lib/modules/*/vmlinuz' 'usr/lib/modules/*/dtb'

    uuid=$(cat /proc/sys/kernel/random/uuid)
    truncate -s 192M "$fat"
    mkfs.vfat -F 32 -n THORAX-BOOT "$fat" >/dev/null
    export MTOOLS_SKIP_CHECK=1
    mcopy -i "$fat" "$root/boot/vmlinuz-$version" ::vmlinuz
    mcopy -i "$fat" "$root/boot/initrd.img-$version" ::initrd
    "boot_${boot//-/_}" "root=PARTUUID=$uuid rootfstype=squashfs ro systemd.gpt_auto=0 panic=10 fsck.repair=yes $command_line"

    truncate -s "${mebibytes}M" "$work/data.ext4"
    mkfs.ext4 -q -L thorax-data -d "$work/data" -E lazy_itable_init=0 "$work/data.ext4"

    local megabyte=2048
    boot_sectors=$(($(stat -c %s "$fat") / 512))
    # Twice the room: a later root is written into the same place.
    root_sectors=$(((($(stat -c %s "$work/root.squashfs") * 2 / 512) / megabyte + 1) * megabyte))
    data_sectors=$((mebibytes * megabyte))
    rm -f "$work/disk"
    truncate -s $(((megabyte + boot_sectors + root_sectors + data_sectors + megabyte) * 512)) "$work/disk"
    sfdisk --quiet "$work/disk" <<TABLE
label: gpt
start=$megabyte, size=$boot_sectors, type=$first_type, name=thorax-boot
start=$((megabyte + boot_sectors)), size=$root_sectors, type=B921B045-1DF0-41C3-AF44-4C6F280D3FAE, name=thorax-root, uuid=$uuid
start=$((megabyte + boot_sectors + root_sectors)), size=$data_sectors, type=linux, name=thorax-data
TABLE
    start=$megabyte
    dd if="$fat" of="$work/disk" bs=1M seek=$((start / megabyte)) conv=notrunc,sparse status=none
    start=$((start + boot_sectors))
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
