#!/usr/bin/env bash
# Builds the tests of thorax-kernels' inference, on f32 and on bytes, for arm64 and runs them under qemu as several processors, with and without the dot
# product. What packaging/arm64.sh installs must be there (ZIG: where Zig is, if not in the target folder).
#
#     .ci/arm64_kernels.sh
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$(realpath -m "${CARGO_TARGET_DIR:-target}")
zig=${ZIG:-$folder/zig}
trap 'code=$?; [ $code -eq 0 ] || echo "=== FAILED: arm64_kernels.sh" >&2' EXIT

tests=(--test channels_last --test quantized_convolution --test quantized_operators --test quantized_references)
mapfile -t programs < <(
    env PATH="$zig/bin:$PATH" PYTHONPATH="$zig" RUSTC=/usr/bin/rustc RUSTDOC=/usr/bin/rustdoc CARGO_TARGET_DIR="$folder/arm64" \
        cargo-zigbuild zigbuild --locked --release --target aarch64-unknown-linux-gnu.2.27 -p thorax-kernels "${tests[@]}" --message-format=json |
        sed -n 's/.*"executable":"\([^"]*\)".*/\1/p'
)
[ "${#programs[@]}" -eq 4 ] || { echo "arm64_kernels.sh: built ${#programs[@]} programs, not 4" >&2; exit 1; }
# The boards' processors: Raspberry Pi 3, Jetson Nano, Raspberry Pi 4 and 5; and one that has whatever qemu has, but for SVE.
for processor in cortex-a53 cortex-a57 cortex-a72 cortex-a76 max,sve=off; do
    for program in "${programs[@]}"; do
        echo "=== $processor: $(basename "$program")"
        qemu-aarch64-static -cpu "$processor" "$program"
    done
done
