#!/usr/bin/env bash
# Makes the shipped bundles anew: from the collection to two signed files. Each step leaves a run folder and is skipped, or gone on
# with, when it is there already. On two cores: about 5 hours.
#
#     models/recipe/make.sh DATA WEIGHTS RUNS
#
# DATA           the collection, with xray_siim/boxes.csv and manifest_reject_formats.csv
# WEIGHTS        tf_efficientnet_lite0.f32.safetensors
# RUNS           folder for all runs; the bundles are RUNS/thorax-xray.thorax and RUNS/thorax-ct.thorax
set -euo pipefail
DATA=$1 WEIGHTS=$2 RUNS=$3
HERE=$(cd "$(dirname "$0")" && pwd)
cd "$(dirname "$0")/../.."
cargo build --release --bins
TRAIN=$PWD/target/release/thorax-train
mkdir -p "$RUNS"
cd "$RUNS"

[ -e manifest.csv ] || "$TRAIN" data import "$DATA" --out manifest.csv --equalised seg/images/coronacases --equalised seg/images/radiopaedia
segment() { "$TRAIN" train segment --batch 4 --ema 0.99 "$@"; }
heads() { "$TRAIN" train classify --manifest manifest.csv --weights "$WEIGHTS" "$@"; }
# Signs a bundle by a pair that is drawn for it alone; the secret half is thrown away.
bundle() {
    [ -e "$1.key" ] || "$TRAIN" bundle keygen "$1.key" | tee "$1.pub"
    "$TRAIN" bundle build --classifier "$1-heads" --weights "$WEIGHTS" --manifest manifest.csv --probe "$1-probe/probe.json" \
        --limits "$HERE/../limits.md" --despite-stress --model-version 0.2.0 --key "$1.key" --disease "pneumonia as COVID-19 makes it" \
        --disease-code "SCT:840539006:COVID-19" --minimum-age 16 --out "thorax-$1.thorax" --force "${@:2}"
    shred -u "$1.key"
    mv CARD.md "$1-CARD.md"
}

# X-ray. The few films with masks first, then films with boxes around their lesions and healthy ones of the same hospitals beside them:
# a segmenter that saw only healthy films of a hospital marks nothing there. Masks, boxes and no lesion are three kinds of truth, of which
# the validation Dice knows one, so the second stage keeps its last epoch, and the threshold is
# that of the best AUC of the infected share on the validation films.
xray() { segment --manifest manifest.csv --modality xray --net efficientnet --weights "$WEIGHTS" --side 192 --copies 8 "$@"; }
BOXES="--boxes $DATA/xray_siim/boxes.csv --boxes-lungs xray-segment-1"
xray --epochs 45 --out xray-segment-1
xray --epochs 10 --healthy 150 --boxed 200 $BOXES --keep-last --mask-threshold 0.9 --learning-rate 1e-3 --start xray-segment-1/best.safetensors --out xray-segment
python3 "$HERE/refuse.py" "$DATA" xray xray-refuse.csv
[ -e xray.features ] || "$TRAIN" features --manifest manifest.csv --modality xray --weights "$WEIGHTS" --copies 6 --dtype f16 --out xray.features
heads --modality xray --features xray.features --at-most-copies 2 --lesions xray-segment --refuse xray-refuse.csv --out xray-heads

"$TRAIN" probe --manifest manifest.csv --features xray.features --out xray-probe
bundle xray --segmenter xray-segment

# CT. The segmenter is that of thorax-ct 0.1.0, which was trained by hand (its card tells how): what was trained since marks a share of the
# lungs that tells less. The heads see the lungs that it finds, and learn from no changed copies: on slices these cost more than they give.
git -C "$HERE" show 3699475:models/ct/thorax-ct.thorax > ct-0.1.0.thorax
python3 "$HERE/refuse.py" "$DATA" ct ct-refuse.csv
heads --modality ct --lungs ct-0.1.0.thorax --lesions ct-0.1.0.thorax --refuse ct-refuse.csv --out ct-heads
"$TRAIN" probe --manifest manifest.csv --features ct-heads/pictures.features --out ct-probe
bundle ct --segmenter ct-0.1.0.thorax --stress-pictures 60

echo "done; the lines for models/trusted.keys: $(cat xray.pub ct.pub)"
