#!/bin/sh
# Builds thorax-shared for a Cortex-M4F, a target that has no standard library at all, so that a `std` that crept in
# (by our code or by a dependency's features) does not compile.
#
# rustup brings no `core` for that target without a download; Debian's rustc-web and rust-web-src bring the compiler and
# the sources of `core` and `alloc`, and `-Z build-std` (opened by RUSTC_BOOTSTRAP) builds them. cargo stays rustup's.
set -eu

started=$(date +%s)
cd "$(dirname "$0")/.."
target=thumbv7em-none-eabihf
packages="rustc-web libstd-rust-web-dev rust-web-src"

missing=""
for package in $packages; do
    dpkg-query --show --showformat='${Status}' "$package" 2>/dev/null | grep -q '^install ok installed$' ||
        missing="$missing $package"
done
if [ -n "$missing" ]; then
    if ! command -v apt-get >/dev/null || [ "$(id -u)" -ne 0 ]; then
        echo "no_std.sh: not installed:$missing. On Debian, as root: apt-get install --no-install-recommends$missing" >&2
        exit 1
    fi
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing
fi
installed=$(date +%s)

# A target folder of its own: another compiler's build would push out the usual one. Nothing built here ever runs, so
# nothing is optimised.
RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/no_std" \
    cargo build --locked -Z build-std=core,alloc --target "$target" -p thorax-shared --no-default-features \
    --config 'profile.dev.debug=false' --config 'profile.dev.package."*".opt-level=0'

built=$(date +%s)
echo "no_std.sh: thorax-shared builds for $target: packages $((installed - started)) s, build $((built - installed)) s"
