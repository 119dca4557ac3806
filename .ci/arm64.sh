#!/usr/bin/env bash
# Builds the device's program for arm64 (packaging/arm64.sh, which checks that old systems can run it), has it make and screen phantoms under
# qemu, and compares what it says with what the program of this machine says of the same files.
#
#     .ci/arm64.sh [ROOT]
#
# ROOT is the root of another arm64 system, such as that of debootstrap --arch=arm64 bullseye: then it runs in there, with that system's glibc.
set -euo pipefail
cd "$(dirname "$0")/.."
started=$SECONDS
root=${1:-}

program=$(packaging/arm64.sh | tail -n 1)
built=$SECONDS
# The tests have built it already.
cargo build --release --locked --workspace --bins
native=$(realpath "${CARGO_TARGET_DIR:-target}/release/thorax-edge")

work=$(mktemp -d)
bound=()
clean() {
    local place
    for place in "${bound[@]}"; do umount "$place"; done
    rm -rf "$work"
}
trap 'code=$?; clean; [ $code -eq 0 ] || echo "=== FAILED: arm64.sh" >&2; exit $code' EXIT

models=$PWD/models
# That of a Raspberry Pi 5. With qemu's own choice, which has SVE, tract's first product of matrices does not end.
processor=cortex-a76
cd "$work"
if [ -z "$root" ]; then
    # Without -L: two builds of glibc would mix.
    arm64() { env THORAX_MODELS="$models" qemu-aarch64-static -cpu "$processor" "$program" "$@"; }
else
    [ "$(id -u)" -eq 0 ] || { echo "arm64.sh: with a root it has to be run as root, for chroot" >&2; exit 1; }
    mkdir -p "$root/thorax/models" "$root/thorax/work"
    cp "$program" "$root/thorax/thorax-edge"
    cp "$(command -v qemu-aarch64-static)" "$root/thorax/qemu"
    mount --bind "$models" "$root/thorax/models" && bound+=("$root/thorax/models")
    mount --bind "$work" "$root/thorax/work" && bound+=("$root/thorax/work")
    mount -t proc proc "$root/proc" && bound+=("$root/proc")
    arm64() { chroot "$root" /usr/bin/env -C /thorax/work THORAX_MODELS=/thorax/models /thorax/qemu -cpu "$processor" /thorax/thorax-edge "$@"; }
    arm64 --version
    ls "$root"/lib/aarch64-linux-gnu/libc-*.so "$root"/lib/aarch64-linux-gnu/libc.so.6 2>/dev/null || true
fi

# Exit code 1 says that a file was rejected: an answer like any other.
screened() { "$@" || [ $? -eq 1 ]; }

arm64 phantom films --count 1 --formats png,dicom
# The films as DICOM alone: under emulation each takes most of a minute.
screened arm64 screen films/*.dcm --json >arm64.jsonl
emulated=$SECONDS
screened env THORAX_MODELS="$models" "$native" screen films/*.dcm --json >native.jsonl
"$OLDPWD/.ci/same_answers.py" native.jsonl arm64.jsonl
# And a phantom itself is the same to the byte, whichever machine made it.
"$native" phantom made_here --count 1 --formats png,dicom >/dev/null
diff -r films made_here
echo "phantoms are the same to the byte"
echo "arm64.sh: build and symbols $((built - started)) s, under qemu $((emulated - built)) s"
