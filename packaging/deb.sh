#!/usr/bin/env bash
# Builds the Debian package of the device's program (needs cargo-deb: cargo install cargo-deb --locked).
#
#     packaging/deb.sh [--no-build] [--target aarch64-unknown-linux-gnu]
#
# --no-build takes the program that is in the target folder already. For arm64 packaging/arm64.sh builds it, for systems with glibc 2.27 and newer.
set -euo pipefail
cd "$(dirname "$0")/.."

build=yes
target=''
while [ $# -gt 0 ]; do
    case "$1" in
    --no-build) build=no ;;
    --target) target=${2:-}; shift ;;
    *) echo "deb.sh: $1 is not known" >&2; exit 2 ;;
    esac
    shift
done
cargo deb --version >/dev/null || { echo "deb.sh: there is no cargo-deb: cargo install cargo-deb --locked" >&2; exit 1; }

export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}
packages=$CARGO_TARGET_DIR/debian
case "$target" in
"")
    [ "$build" = no ] || cargo build --release --locked -p thorax-edge
    "$CARGO_TARGET_DIR/release/thorax-edge" manual packaging/manual
    architecture=$(dpkg --print-architecture)
    ;;
aarch64-unknown-linux-gnu)
    [ "$build" = no ] || packaging/arm64.sh
    # As arm64.sh has it.
    CARGO_TARGET_DIR=$CARGO_TARGET_DIR/arm64
    qemu-aarch64-static "$CARGO_TARGET_DIR/$target/release/thorax-edge" manual packaging/manual
    architecture=arm64
    ;;
*) echo "deb.sh: $target: only aarch64-unknown-linux-gnu is known, and this machine's own without --target" >&2; exit 2 ;;
esac
cargo deb --no-build --no-strip --output "$packages" -p thorax-edge ${target:+--target "$target" --variant "$architecture"}
deb=$(ls -t "$packages"/thorax-edge_*_"$architecture".deb | head -n 1)
echo "$deb"
depends=$(dpkg-deb -f "$deb" Depends)
echo "depends on: $depends"
if [ -n "$target" ]; then
    # What this machine has must not be what the other one needs.
    libc=$(sed -n 's/.*libc6 (>= \([0-9.]*\)[^)]*).*/\1/p' <<<"$depends")
    if [ -z "$libc" ] || ! dpkg --compare-versions "$libc" le 2.27; then
        echo "deb.sh: $deb depends on libc6 ${libc:-of no version}, and old systems have 2.27" >&2
        exit 1
    fi
fi
