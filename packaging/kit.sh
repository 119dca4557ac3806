#!/usr/bin/env bash
# Makes the kit by which a device is installed without a network: one folder, for a USB stick, with packages, keys, instructions,
# checksums, and the site's signature if its key is given.
#
#     packaging/kit.sh FOLDER --deb thorax-edge_..._arm64.deb [--deb ...] [--board NAME] [--profile FILE] [--trust FILE] [--sign KEY]
#
# --profile is the site's own profile, --trust a file of further public keys of bundles, --sign a secret key of gpg.
set -euo pipefail

usage() { sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 2; }
[ $# -gt 0 ] || usage
folder=$1; shift
debs=() board='' profile='' trust='' key=''
while [ $# -gt 0 ]; do
    [ $# -gt 1 ] || usage
    case "$1" in
    --deb) debs+=("$2") ;;
    --board) board=$2 ;;
    --profile) profile=$2 ;;
    --trust) trust=$2 ;;
    --sign) key=$2 ;;
    *) usage ;;
    esac
    shift 2
done
[ "${#debs[@]}" -gt 0 ] || usage
if [ -e "$folder" ]; then
    echo "kit.sh: $folder is there already: name a new folder" >&2
    exit 1
fi
for file in "${debs[@]}" ${profile:+"$profile"} ${trust:+"$trust"}; do
    [ -r "$file" ] || { echo "kit.sh: cannot read $file" >&2; exit 1; }
done

# In a folder beside it, which becomes the kit when it is whole.
part=$(mktemp -d "$(dirname "$(realpath -m "$folder")")/.kit-XXXXXX")
trap 'rm -rf "$part"' EXIT
cp "${debs[@]}" "$part/"
[ -z "$board" ] || echo "$board" >"$part/board"
[ -z "$profile" ] || cp "$profile" "$part/profile.toml"
[ -z "$trust" ] || cp "$trust" "$part/trusted.keys"

cat >"$part/install.sh" <<'INSTALL'
#!/bin/sh
# Installs the device's program from this folder, without a network: checks every file first, and the site's signature where there is one.
#
#     sudo ./install.sh [SITE.gpg]
#
# SITE.gpg is the site's public key, which has to come by another way than this folder; the default is /etc/thorax-site.gpg.
set -eu
cd "$(dirname "$0")"

stop() { echo "install.sh: $*" >&2; exit 1; }
[ "$(id -u)" -eq 0 ] || stop "has to be run as root: sudo ./install.sh"
sha256sum --quiet --strict -c SHA256SUMS || stop "a file of this kit is damaged or missing: copy the kit anew"
# What is in no line of the list is nobody's.
for file in *; do
    case "$file" in SHA256SUMS | SHA256SUMS.sig) continue ;; esac
    grep -qF "  $file" SHA256SUMS || stop "$file does not belong to the kit: copy the kit anew"
done
keyring=${1:-/etc/thorax-site.gpg}
if [ -e SHA256SUMS.sig ]; then
    [ -r "$keyring" ] || stop "the kit is signed, and $keyring is not there: name the site's public key"
    gpgv --keyring "$(realpath "$keyring")" SHA256SUMS.sig SHA256SUMS || stop "the site's signature is not right: do not install this kit"
elif [ -r "$keyring" ]; then
    stop "the site has a key, and the kit has no signature: do not install it"
else
    echo "The kit has no signature: its files are whole, and whose they are nobody can tell."
fi
architecture=$(dpkg --print-architecture)
deb=$(ls thorax-edge_*_"$architecture".deb 2>/dev/null | tail -n 1)
[ -n "$deb" ] || stop "there is no package for $architecture in this kit"
if [ -e board ]; then
    THORAX_BOARD=$(cat board)
    export THORAX_BOARD
fi
dpkg -i "./$deb"
if [ -e profile.toml ]; then
    if [ -e /etc/thorax/board/profile.toml ]; then cp -p /etc/thorax/board/profile.toml /etc/thorax/board/profile.toml.before; fi
    cp profile.toml /etc/thorax/board/.profile.toml.part
    chmod 644 /etc/thorax/board/.profile.toml.part
    mv /etc/thorax/board/.profile.toml.part /etc/thorax/board/profile.toml
fi
[ ! -e trusted.keys ] || install -m 644 trusted.keys /etc/thorax/trusted.keys
thorax-edge --version
echo "Installed. Look at /etc/thorax/board/profile.toml, then: systemctl enable --now thorax"
INSTALL
chmod 755 "$part/install.sh"

cat >"$part/README.txt" <<'README'
Thorax: the kit for a device without a network. Research use only, not a medical device.

1. Put this folder on the device (or leave it on the stick), and go into it.
2. Is the kit what it says it is? If the site has a key, its public half (SITE.gpg) has to come by another way than this folder.
3. Install:              sudo ./install.sh SITE.gpg      (without a key: sudo ./install.sh)
4. What is missing?      sudo -u thorax thorax-edge board check --board /etc/thorax/board
5. Who may send, and where results go:  /etc/thorax/board/profile.toml; every key is in /usr/share/thorax/boards/README.md
6. Start:                sudo systemctl enable --now thorax
   Does it run?          systemctl status thorax

The same installs a newer version over an older one. The profile stays unless the kit has one (profile.toml): then the one before is kept
beside it. Further keys of bundles (trusted.keys) come to /etc/thorax/trusted.keys, and count when the profile says
[screening] trust = "/etc/thorax/trusted.keys".
README

(cd "$part" && sha256sum -- * | sort -k 2 >../.sums-$$ && mv ../.sums-$$ SHA256SUMS)
if [ -n "$key" ]; then
    gpg --batch --yes --local-user "$key" --output "$part/SHA256SUMS.sig" --detach-sign "$part/SHA256SUMS"
fi
chmod 755 "$part"
sync
mv "$part" "$folder"
trap - EXIT
du -sh "$folder"
