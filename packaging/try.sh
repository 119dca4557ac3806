#!/usr/bin/env bash
# Tries the package in a clean Debian (debootstrap; as root, with a network for that): installs it from a kit, screens a synthetic film, installs
# a newer version over it, removes it, purges it, and sees to it that profile and data are where they belong each time.
#
#     packaging/try.sh FILE.deb [ROOT]
#
# ROOT, a folder with a Debian that debootstrap made, is copied; without it, one is made (300 MB, some minutes).
set -euo pipefail

deb=$(realpath "$1")
base=${2:-}
here=$(realpath "$(dirname "$0")")
work=$(mktemp -d)
root=$work/root
unmount() { umount "$root/proc" 2>/dev/null || true; }

current=start
step() { current=$1; echo "=== $current"; }
trap 'code=$?; [ $code -eq 0 ] || echo "=== FAILED: $current" >&2; unmount; rm -rf "$work"; exit $code' EXIT
inside() { chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root DEBIAN_FRONTEND=noninteractive "$@"; }
has() { [ -e "$root/$1" ] || { echo "$1 is missing" >&2; exit 1; }; }
lacks() { [ ! -e "$root/$1" ] || { echo "$1 is still there" >&2; exit 1; }; }

step "a clean Debian"
if [ -n "$base" ]; then cp -a "$base" "$root"; else debootstrap --variant=minbase bookworm "$root" >"$work/log"; fi
mount -t proc proc "$root/proc"
cp /etc/resolv.conf "$root/etc/resolv.conf"
# What every Debian that boots has.
inside dpkg -s systemd >/dev/null 2>&1 || { inside apt-get update -qq; inside apt-get install -y -qq --no-install-recommends systemd >/dev/null; }

step "a kit, signed by the site"
export GNUPGHOME=$work/gpg
mkdir -m 700 "$GNUPGHOME"
if command -v gpg >/dev/null; then
    gpg --batch --quiet --passphrase '' --quick-generate-key 'Site <site@example.invalid>' ed25519 sign never
    gpg --batch --quiet --export >"$root/etc/thorax-site.gpg"
    "$here/kit.sh" "$work/kit" --deb "$deb" --board jetson-orin-nano --sign site@example.invalid
else
    echo "no gpg here: the kit is not signed"
    "$here/kit.sh" "$work/kit" --deb "$deb" --board jetson-orin-nano
fi
cp -r "$work/kit" "$root/kit"

step "a kit that was altered is refused, and nothing is installed"
echo x >>"$root/kit/README.txt"
! inside /kit/install.sh 2>"$work/told" || exit 1
grep -q 'damaged' "$work/told"
cp "$work/kit/README.txt" "$root/kit/README.txt"
if [ -e "$root/kit/SHA256SUMS.sig" ]; then
    (cd "$root/kit" && echo y >>README.txt && sha256sum -- README.txt board install.sh *.deb >SHA256SUMS)
    ! inside /kit/install.sh 2>"$work/told" || exit 1
    grep -q "signature is not right" "$work/told"
    cp "$work/kit/"* "$root/kit/"
fi
lacks usr/bin/thorax-edge

step "installed, with the board of the kit"
inside /kit/install.sh
has usr/lib/systemd/system/thorax.service
has etc/systemd/system/thorax.service.d/10-board.conf
grep -q 'Orin Nano' "$root/etc/thorax/board/profile.toml"
[ "$(inside stat -c %U:%G:%a /var/lib/thorax)" = thorax:thorax:700 ]
inside thorax-board >"$work/log"
grep -q "chosen: jetson-orin-nano" "$work/log"
has usr/share/man/man1/thorax-edge-screen.1.gz
has usr/share/bash-completion/completions/thorax-edge
inside sh -c 'for group in spi gpio video input; do getent group $group >/dev/null || exit 1; done'

step "a synthetic film is screened, as the service's user"
inside setpriv --reuid thorax --regid thorax --clear-groups sh -c \
    'cd /var/lib/thorax && thorax-edge phantom film --count 1 >/dev/null && thorax-edge screen film/*.png --json' >"$work/screened"
cut -c 1-160 "$work/screened"
[ "$(grep -c '"verdict":"\(positive\|negative\|refer\|rejected\)"' "$work/screened")" = 2 ]

step "an upgrade keeps the profile that was edited, and the data"
echo '# the site was here' >>"$root/etc/thorax/board/profile.toml"
echo '# and here' >>"$root/etc/default/thorax"
echo study >"$root/var/lib/thorax/study"
newer=$work/newer
dpkg-deb -R "$deb" "$newer"
sed -i 's/^Version: .*/&+1/' "$newer/DEBIAN/control"
echo '# of the newer version' >>"$newer/usr/share/thorax/boards/jetson-orin-nano/profile.toml"
echo '# of the newer version' >>"$newer/usr/share/thorax/boards/jetson-orin-nano/unit.conf"
echo '# of the newer version' >>"$newer/etc/default/thorax"
dpkg-deb --root-owner-group -Znone -b "$newer" "$root/newer.deb" >"$work/log"
inside dpkg --force-confdef --force-confold -i /newer.deb >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
grep -q 'the site was here' "$root/etc/thorax/board/profile.toml"
grep -q 'and here' "$root/etc/default/thorax"
grep -q 'of the newer version' "$root/etc/systemd/system/thorax.service.d/10-board.conf"
inside dpkg -s thorax-edge >"$work/log"
grep -q "^Version: .*+1" "$work/log"
has var/lib/thorax/study

step "another board is chosen, and what was there is kept beside it"
inside thorax-board raspberry-pi-5 >"$work/log"
grep -q stays "$work/log"
inside thorax-board raspberry-pi-5 --replace >/dev/null
grep -q 'Raspberry Pi 5' "$root/etc/thorax/board/profile.toml"
grep -q 'the site was here' "$root/etc/thorax/board/profile.toml.before"
! inside thorax-board no-such-board 2>/dev/null || exit 1
! inside thorax-board ../../etc 2>/dev/null || exit 1

step "removed: settings and data stay"
inside dpkg -r thorax-edge >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
lacks usr/bin/thorax-edge
lacks usr/share/thorax/boards
has etc/thorax/board/profile.toml
has etc/default/thorax
has var/lib/thorax/study

step "purged: settings go, data stays"
inside dpkg -P thorax-edge >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
grep -q '/var/lib/thorax' "$work/log"
lacks etc/thorax
lacks etc/default/thorax
lacks etc/systemd/system/thorax.service.d/10-board.conf
has var/lib/thorax/study
inside id thorax >/dev/null

echo "=== all passed"
