#!/usr/bin/env bash
# Builds the Debian package of the device's program (needs cargo-deb: cargo install cargo-deb --locked).
#
#     packaging/deb.sh [--no-build] [--target aarch64-unknown-linux-gnu]
#
# --no-build takes the program that is in the target folder already. For another architecture set the linker and the runner as
# boards/README.md says; without a runner the man pages of packaging/manual are taken, from whichever machine they come.
set -euo pipefail
cd "$(dirname "$0")/.."

build=yes
target=()
while [ $# -gt 0 ]; do
    case "$1" in
    --no-build) build=no ;;
    --target) target=(--target "$2"); shift ;;
    *) echo "deb.sh: $1 is not known" >&2; exit 2 ;;
    esac
    shift
done

folder=${CARGO_TARGET_DIR:-target}
program=$folder/${target[1]:+${target[1]}/}release/thorax-edge
[ "$build" = no ] || cargo build --release -p thorax-edge "${target[@]}"
runner=${CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER:-}
if [ "${#target[@]}" -eq 0 ]; then
    "$program" manual packaging/manual
elif [ -n "$runner" ]; then
    $runner "$program" manual packaging/manual
fi
if [ ! -e packaging/manual/thorax-edge.1 ]; then
    echo "deb.sh: there are no man pages in packaging/manual: run \`thorax-edge manual packaging/manual\`" >&2
    exit 1
fi
cargo deb --no-build --no-strip -p thorax-edge "${target[@]}"
