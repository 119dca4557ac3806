#!/usr/bin/env bash
# Builds the programs with CUDA, on a Debian machine that needs neither a GPU nor a driver nor NVIDIA's toolkit.
#
#     .ci/cuda.sh 90                          # H100 alone; 87 is Jetson Orin, 80 A100, 86 RTX 30, 89 RTX 40
#     .ci/cuda.sh 90 test --release -p thorax-nn --features cuda     # any other cargo command, in the same set-up
#
# The first form builds thorax-train with the features cuda and nccl and leaves it as target/cuda/sm_90/thorax-train.
# It starts without a driver and computes on the CPU there; CUDA is loaded when `--device cuda:0` asks for it. To run
# on a GPU it needs the libraries of target/cuda/lib on LD_LIBRARY_PATH (`. target/cuda/environment` sets it), and a driver
# of the 580 series or newer. Kernels travel as PTX, which the driver compiles for cards of that capability and later ones;
# but those for 90 are `sm_90a`, which no later card takes.
#
# Three things stand between `cargo build --features cuda` and that:
# - nvcc and its headers come from NVIDIA's wheels in PyPI, into a virtual environment under target/cuda.
# - candle-core asks cudarc for `dynamic-linking`: a program built so does not start where libcuda is missing. cargo's
#   features can be added but not taken away, so a copy of candle-core says `dynamic-loading` instead.
# - candle-kernels compiles quantised and mixture-of-experts kernels for 20 minutes and more, of which a convolutional
#   net needs none; a copy leaves them out. `gc-sections` drops candle's calls into them, which nothing reaches.
# Both copies are made from the sources that Cargo.lock names, under target/cuda, and are built from a second workspace
# there, which consists of links into this one; no file outside target/ is written.
#
# The stock way, with a toolkit, cuDNN and a driver on the machine, was not tried: cargo build --release --features cuda
set -euo pipefail
cd "$(dirname "$0")/.."

fail() {
    echo "cuda.sh: $*" >&2
    exit 1
}

capability=${1:?usage: .ci/cuda.sh CAPABILITY [cargo arguments], with CAPABILITY as 87 or 90}
shift
[[ $capability =~ ^[0-9]{2,3}$ ]] || fail "\"$capability\" is no compute capability; give it without the dot, as 87 or 90"

candle=0.11.1 # the version whose sources the edits below were written for
root=$PWD
place=$root/target/cuda
mkdir -p "$place"

# Keep to CUDA 13.0: a driver of the 580 series knows no newer PTX.
wheels="nvidia-cuda-nvcc==13.0.* nvidia-cuda-crt==13.0.* nvidia-nvvm==13.0.* nvidia-cuda-runtime==13.0.*
    nvidia-cuda-cccl==13.0.* nvidia-cuda-nvrtc==13.0.* nvidia-cublas==13.0.* nvidia-curand==10.4.0.*
    nvidia-cudnn-cu13>=9.10,<10 nvidia-nccl-cu13>=2.22,<3"
if [ "$(cat "$place/wheels" 2>/dev/null)" != "$wheels" ]; then
    command -v g++ >/dev/null || fail "nvcc needs g++. On Debian, as root: apt-get install --no-install-recommends g++"
    [ -x "$place/venv/bin/pip" ] || python3 -m venv "$place/venv" ||
        fail "no virtual environment. On Debian, as root: apt-get install --no-install-recommends python3-venv"
    # shellcheck disable=SC2086
    "$place/venv/bin/pip" install --quiet $wheels
    printf '%s' "$wheels" >"$place/wheels"
fi
packages=$(echo "$place"/venv/lib/python3.*/site-packages/nvidia)
toolkit=$packages/cu13
[ -x "$toolkit/bin/nvcc" ] || fail "no nvcc in $toolkit/bin; remove $place and start again"
ln -sfn lib "$toolkit/lib64"

# What a GPU run loads, by the names that cudarc asks for (it knows libnccl.so, but not NCCL's own libnccl.so.2).
mkdir -p "$place/lib"
ln -sfn "$packages"/{cu13,cudnn,nccl}/lib/lib*.so.* "$place/lib/"
ln -sfn libnccl.so.2 "$place/lib/libnccl.so"
printf 'export LD_LIBRARY_PATH="%s${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"\n' "$place/lib" >"$place/environment"

cargo fetch --locked --quiet

# copy CRATE: a fresh copy of the crate's sources, in the version of Cargo.lock, which has to be the known one.
copy() {
    local version source
    version=$(sed -n "/^name = \"$1\"\$/{n;s/^version = \"\(.*\)\"\$/\1/p}" Cargo.lock)
    [ "$version" = "$candle" ] || fail "Cargo.lock has $1 $version; the edits of this script are for $candle: review them"
    source=$(echo "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/"$1-$candle")
    [ -f "$source/Cargo.toml" ] || fail "the sources of $1 $candle are not at $source"
    rm -rf "$place/fresh/$1"
    mkdir -p "$place/fresh"
    cp -a "$source" "$place/fresh/$1"
}
# edit FILE EXPRESSION: sed that must change something.
edit() {
    sed "$2" "$place/fresh/$1" >"$place/edited"
    ! cmp -s "$place/edited" "$place/fresh/$1" || fail "nothing to edit in $1 with $2"
    cat "$place/edited" >"$place/fresh/$1"
}

copy candle-core
edit candle-core/Cargo.toml 's/^    "dynamic-linking",$/    "dynamic-loading",/'
copy candle-kernels
edit candle-kernels/build.rs '/let mut moe_sources = vec/,/^    Ok(())/{/^    Ok(())/!d}'
edit candle-kernels/build.rs '/CUTILE_FEATURE/d'
! grep -q 'moe_builder\|rustc-link-lib' "$place/fresh/candle-kernels/build.rs" || fail "candle-kernels still builds libmoe"
edit candle-kernels/src/quantized.cu 'd' # the module stays, empty: candle loads modules when they are first used

# Only what changed is written, so that cargo does not build candle anew each time.
for crate in candle-core candle-kernels; do
    diff -rq "$place/fresh/$crate" "$place/$crate" >/dev/null 2>&1 && continue
    rm -rf "${place:?}/$crate"
    cp -a "$place/fresh/$crate" "$place/$crate"
done

workspace=$place/workspace
mkdir -p "$workspace"
find "$workspace" -maxdepth 1 -type l -delete
for entry in "$root"/* "$root"/.ci; do
    case ${entry##*/} in
    target | Cargo.toml | Cargo.lock) ;;
    *) ln -s "$entry" "$workspace/" ;;
    esac
done
cp Cargo.lock "$workspace/"
{
    cat Cargo.toml
    printf '\n[patch.crates-io]\n'
    for crate in candle-core candle-kernels; do printf '%s = { path = "../%s" }\n' "$crate" "$crate"; done
} >"$workspace/Cargo.toml"

export CUDA_HOME=$toolkit PATH=$toolkit/bin:$PATH CUDA_COMPUTE_CAP=$capability CARGO_TARGET_DIR=$place/target
cd "$workspace"
if [ $# -gt 0 ]; then
    exec cargo "$@"
fi
started=$SECONDS
cargo build --release -p thorax-trainer --features cuda,nccl
mkdir -p "$place/sm_$capability"
cp "$CARGO_TARGET_DIR/release/thorax-train" "$place/sm_$capability/"
echo "cuda.sh: target/cuda/sm_$capability/thorax-train, build $((SECONDS - started)) s"
