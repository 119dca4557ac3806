#!/usr/bin/env bash
# The unit with each board's part: whether systemd understands it, and how exposed it is (0 is best, 10 worst; 2.0 is what we allow).
#
#     packaging/security.sh
set -euo pipefail
cd "$(dirname "$0")/.."

most=2.0
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
units="$root/etc/systemd/system"
mkdir -p "$units/thorax.service.d" "$root/usr/bin"
# What systemd looks for beside the unit: its program, and the units that it wants. Man pages are of another root.
printf '#!/bin/sh\n' >"$root/usr/bin/thorax-edge"
chmod 755 "$root/usr/bin/thorax-edge"
mkdir -p "$root/usr/lib/systemd/system"
cp /usr/lib/systemd/system/{sysinit,basic,shutdown,network,local-fs,multi-user}.target "$root/usr/lib/systemd/system/" 2>/dev/null || \
    cp /lib/systemd/system/{sysinit,basic,shutdown,network,local-fs,multi-user}.target "$root/usr/lib/systemd/system/"
sed '/^Documentation=/d' boards/thorax.service >"$units/thorax.service"

failed=0
for board in boards/*/; do
    name=$(basename "$board")
    cp "$board/unit.conf" "$units/thorax.service.d/10-board.conf"
    told=$(systemd-analyze verify --root="$root" --man=no thorax.service 2>&1 | grep -i 'thorax\|10-board' || true)
    exposure=$(systemd-analyze security --offline=true --root="$root" --no-pager thorax.service 2>/dev/null |
        sed -n 's/.*Overall exposure level for thorax.service: \([0-9.]*\).*/\1/p')
    if [ -n "$told" ] || [ -z "$exposure" ] || ! awk "BEGIN { exit !($exposure <= $most) }"; then
        failed=1
        echo "FAILED: $name: exposure ${exposure:-unknown}${told:+; $told}"
    else
        echo "$name: verified, exposure $exposure"
    fi
done
exit $failed
