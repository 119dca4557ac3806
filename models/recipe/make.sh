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
TRAIN=$PWD/target/release/thorax-train EDGE=$PWD/target/release/thorax-edge
mkdir -p "$RUNS"
# thorax-ct 0.1.0, whose masks teach the CT segmenter.
git show 3699475:models/ct/thorax-ct.thorax > "$RUNS/ct-teacher.thorax"
git show 3699475:models/trusted.keys > "$RUNS/ct-teacher.keys"
cd "$RUNS"

[ -e manifest.csv ] || "$TRAIN" data import "$DATA" --out manifest.csv --equalised seg/images/coronacases --equalised seg/images/radiopaedia
# Signed by a pair that is drawn for these two bundles alone; the secret half is thrown away at the end.
[ -e set.key ] || "$TRAIN" bundle keygen set.key | tee set.pub

segment() { "$TRAIN" train segment --batch 4 --ema 0.99 "$@"; }
heads() { "$TRAIN" train classify --manifest manifest.csv --weights "$WEIGHTS" --at-most-copies 2 "$@"; }
features() {
    [ -e "$1.features" ] || "$TRAIN" features --manifest manifest.csv --modality "$1" --weights "$WEIGHTS" --copies 6 --dtype f16 --out "$1.features"
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
features xray
heads --modality xray --features xray.features --lesions xray-segment --refuse xray-refuse.csv --out xray-heads

# CT. Collections with both classes have no masks, so the older segmenter draws them on the clean slices.
ct() { segment --modality ct --net unet --copies 6 "$@"; }
ct --manifest manifest.csv --side 160 --epochs 10 --out ct-segment-1
python3 - manifest.csv > ct-teach.txt <<'PYTHON'
import csv, sys
with open(sys.argv[1], newline="") as file:
    root = file.readline().removeprefix("# root: ").strip()
    for row in csv.DictReader(file):
        if (row["modality"], row["task"], row["split"], row["label"]) == ("ct", "classify", "train", "positive"):
            print(f"{root}/{row['path']}")
PYTHON
[ -d ct-teach ] || xargs -a ct-teach.txt -d '\n' "$EDGE" screen --modality ct --bundle ct-teacher.thorax --trust ct-teacher.keys --masks ct-teach --json > ct-teach.json || true
python3 "$HERE/teacher_masks.py" manifest.csv ct-teach ct-teach.csv MosMedData UCSD-AI4H
ct --manifest ct-teach.csv --side 256 --epochs 5 --seed 31 --learning-rate 1e-3 --healthy 200 --start ct-segment-1/best.safetensors --out ct-segment
python3 "$HERE/refuse.py" "$DATA" ct ct-refuse.csv
features ct
heads --modality ct --features ct.features --lesions ct-segment --refuse ct-refuse.csv --out ct-heads

for modality in xray ct; do
    "$TRAIN" probe --manifest manifest.csv --features "$modality.features" --out "$modality-probe"
    drawn=(); [ "$modality" = ct ] && drawn=(--segmenter-manifest ct-teach.csv)
    "$TRAIN" bundle build --classifier "$modality-heads" --segmenter "$modality-segment" --weights "$WEIGHTS" --manifest manifest.csv "${drawn[@]}" \
        --probe "$modality-probe/probe.json" --limits "$HERE/../limits.md" --despite-stress --model-version 0.2.0 --key set.key \
        --disease "pneumonia as COVID-19 makes it" --disease-code "SCT:840539006:COVID-19" --minimum-age 16 --out "thorax-$modality.thorax" --force
    mv CARD.md "$modality-CARD.md"
done
shred -u set.key
echo "done; the line for models/trusted.keys: $(cat set.pub)"
