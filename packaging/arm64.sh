#!/usr/bin/env bash
# Builds the device's program for arm64 on an x86-64 Debian 12 with cargo, such that it runs on old systems as well, and checks that it does:
# it may ask for no symbol of a glibc newer than 2.27, which JetPack 4 has (JetPack 5: 2.31).
#
#     packaging/arm64.sh              # the program's path is the last line
#
# The compiler and its library for arm64 are Debian's (rustc-web), since rustup's has that library only after a download from elsewhere. Zig,
# which PyPI has, compiles C and links: it knows the symbols of every glibc, where Debian's cross compiler knows those of its own, 2.36, alone.
# What is missing is installed, as root; Zig goes into the target folder.
set -euo pipefail
cd "$(dirname "$0")/.."

most_glibc=2.27
target=aarch64-unknown-linux-gnu
folder=$(realpath -m "${CARGO_TARGET_DIR:-target}")
zig=$folder/zig
packages=(rustc-web libstd-rust-web-dev libstd-rust-web-dev:arm64 qemu-user-static binutils)

current=start
trap 'code=$?; [ $code -eq 0 ] || echo "=== FAILED: arm64.sh: $current" >&2' EXIT
# What is told goes to the log, and the program's path alone to standard output.
step() {
    local started=$SECONDS
    current=$1
    shift
    echo "=== arm64.sh: $current" >&2
    "$@" >&2
    echo "=== arm64.sh: $current: $((SECONDS - started)) s" >&2
}

system_packages() {
    local missing=() package
    dpkg --print-foreign-architectures | grep -qx arm64 || missing=("${packages[@]}")
    for package in "${packages[@]}"; do
        dpkg-query --show --showformat='${Status}\n' "$package" 2>/dev/null | grep -q '^install ok installed$' || missing+=("$package")
    done
    python3 -m pip --version >/dev/null 2>&1 || missing+=(python3-pip)
    [ "${#missing[@]}" -gt 0 ] || return 0
    if ! command -v apt-get >/dev/null || [ "$(id -u)" -ne 0 ]; then
        echo "arm64.sh: not installed: ${missing[*]}. On Debian 12, as root:" >&2
        echo "  dpkg --add-architecture arm64 && apt-get update && apt-get install --no-install-recommends ${packages[*]} python3-pip" >&2
        return 1
    fi
    dpkg --add-architecture arm64
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
}

linker() {
    # With a folder of its own pip leaves Debian's Python alone, and so is not refused.
    [ -x "$zig/bin/cargo-zigbuild" ] || python3 -m pip install -q --target "$zig" ziglang==0.17.1 cargo-zigbuild==0.24.1
}

# A target folder of its own keeps two compilers from pushing out each other's work.
build() {
    env PATH="$zig/bin:$PATH" PYTHONPATH="$zig" RUSTC=/usr/bin/rustc RUSTDOC=/usr/bin/rustdoc CARGO_TARGET_DIR="$folder/arm64" \
        cargo-zigbuild zigbuild --locked --release --target "$target.$most_glibc" -p thorax-edge
}

# The symbols of glibc that the program wants, by their versions.
symbols() {
    local wanted highest
    wanted=$(readelf --wide --dyn-syms "$program" | grep ' UND ' | grep -o 'GLIBC_[0-9.]*' | sort -uV)
    [ -n "$wanted" ] || { echo "arm64.sh: readelf finds no symbol of glibc in $program: it cannot be checked" >&2; return 1; }
    highest=$(tail -n 1 <<<"$wanted")
    echo "needed of glibc: at most $highest"
    readelf --wide --dynamic "$program" | sed -n 's/.*Shared library: \[\(.*\)\]/needed library: \1/p'
    if [ "$(printf '%s\nGLIBC_%s\n' "$highest" "$most_glibc" | sort -V | tail -n 1)" != "GLIBC_$most_glibc" ]; then
        echo "arm64.sh: $program wants $highest, and old systems have $most_glibc:" >&2
        readelf --wide --dyn-syms "$program" | grep "$highest" >&2
        return 1
    fi
}

step "Debian's packages" system_packages
step "Zig" linker
step "build" build
program=$folder/arm64/$target/release/thorax-edge
step "symbols" symbols
echo "$program"
