#!/usr/bin/env bash
# Makes the shipped bundles anew: from the collection to two bundles of real numbers (models/teachers), and from these to the two that devices
# run, in 8-bit integers. Each step leaves a run folder and is skipped, or gone on with, when it is there already. On two cores: about nine
# hours, by the sum of its steps: two and a half are the five backbones' and their student's, one the small segmenter's.
#
#     models/recipe/make.sh DATA WEIGHTS RUNS
#
# DATA           the collection, with xray_siim/boxes.csv and manifest_reject_formats.csv
# WEIGHTS        tf_efficientnet_lite0.f32.safetensors
# RUNS           folder for all runs; the bundles are RUNS/thorax-xray.thorax and RUNS/thorax-ct.thorax, and of integers RUNS/xray-int8.thorax
#                and RUNS/ct-int8.thorax
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
heads() { "$TRAIN" train classify --manifest manifest.csv "$@"; }
# Signs a bundle by a pair that is drawn for it alone; the secret half is thrown away.
bundle() {
    [ -e "$1.key" ] || "$TRAIN" bundle keygen "$1.key" | tee "$1.pub"
    "$TRAIN" bundle build --classifier "$1-heads" --manifest manifest.csv \
        --limits "$HERE/../limits.md" --despite-stress --key "$1.key" --disease "pneumonia as COVID-19 makes it" \
        --disease-code "SCT:840539006:COVID-19" --minimum-age 16 --out "thorax-$1.thorax" --force "${@:2}"
    mv CARD.md "$1-CARD.md"
}
# The same in integers, signed by the same pair; the secret half is thrown away.
integers() {
    "$TRAIN" quantize --bundle "thorax-$1.thorax" --trust "$1.pub" --manifest manifest.csv --key "$1.key" --sensitivity-pictures 0 \
        --stress-pictures 120 --despite-stress --test --out "$1-int8.thorax" --force "${@:2}"
    shred -u "$1.key"
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
# A deep ensemble: five backbones of other seeds, folds of the patients and sizes learn from the labels, and heads are fitted behind each. One
# backbone then learns what all 40 of them say of a film as it is, from changed copies of that film, and of those that readers called
# indeterminate too; and heads behind it, once it is done, what each of the 40 says.
LEARN="--manifest manifest.csv --modality xray --frozen stride8 --ema 0.99 --learning-rate 2e-4"
xray_features() { [ -e "$2" ] || "$TRAIN" features --manifest manifest.csv --modality xray --backbone efficientnet-lite0 --weights "$1" --copies "$3" --out "$2"; }
xray_heads() { heads --modality xray --lesions xray-segment "$@"; }
TEACHERS=()
teacher() {
    local weights=xray-backbone-$1/weights.safetensors
    "$TRAIN" train backbone $LEARN --weights "$WEIGHTS" --epochs 6 --out "xray-backbone-$1" "${@:2}"
    xray_features "$weights" "xray-$1.features" 2
    xray_heads --features "xray-$1.features" --members 8 --no-probe --out "xray-teacher-$1"
    TEACHERS+=(--teacher "xray-teacher-$1" --teacher-weights "$weights")
}
teacher 1 --seed 1
teacher 2 --seed 2 --leave-out 2/5
teacher 4 --seed 4 --leave-out 4/5
teacher 5 --seed 5 --leave-out 5/5
teacher 160 --seed 1 --side 160
STUDENT=xray-student/weights.safetensors
"$TRAIN" distill $LEARN --weights xray-backbone-2/weights.safetensors "${TEACHERS[@]}" --doubt 1 --unlabelled --epochs 4 --dropout 0 --out xray-student
xray_features $STUDENT xray.features 6
xray_heads --features xray.features --weights $STUDENT "${TEACHERS[@]}" --refuse xray-refuse.csv --refuse-photographs 200 --out xray-heads
bundle xray --weights $STUDENT --segmenter xray-segment --model-version 0.5.0
# The device's: a small segmenter learns what the large one draws on all films, and the first layers, which lose the most, stay in floating point.
FIRST=classifier/n1,classifier/n3,classifier/n5,classifier/n6,classifier/n8,classifier/n10
segment --manifest manifest.csv --modality xray --net unet --side 192 --copies 2 --epochs 20 --teacher xray-segment --taught 800 --keep-last --mask-threshold 0.5 --out xray-segment-small
integers xray --segmenter xray-segment-small --model-version 0.6.0 --keep-float "$FIRST,segmenter/n1,segmenter/n49" "${TEACHERS[@]}"

# CT. The segmenter is that of thorax-ct 0.1.0, which was trained by hand, for half an hour of a core: what was trained since marks a share of
# the lungs that tells less. How it was trained (twice.csv: the manifest imported without --equalised), though programs since then draw other
# augmentations, so that these commands give another net:
#     segment --manifest twice.csv --modality ct --net unet --side 160 --epochs 8 --seed 2 --out ct-1
#     segment --manifest twice.csv --modality ct --net unet --side 256 --epochs 4 --seed 12 --learning-rate 1e-3 --start ct-1/best.safetensors --out ct-2
#     segment --manifest manifest.csv --modality ct --net unet --side 256 --epochs 2 --seed 12 --learning-rate 1e-3 --healthy 100 --start ct-2/best.safetensors --out ct-3
# It is the trunk of the classifier too: heads learn from what it sees, of each slice and of four changed copies.
git -C "$HERE" show 3699475:models/ct/thorax-ct.thorax > ct-0.1.0.thorax
python3 "$HERE/refuse.py" "$DATA" ct ct-refuse.csv
[ -e ct.features ] || "$TRAIN" features --manifest manifest.csv --modality ct --segmenter ct-0.1.0.thorax --copies 4 --out ct.features
heads --modality ct --features ct.features --segmenter ct-0.1.0.thorax --refuse ct-refuse.csv --refuse-photographs 200 --out ct-heads
bundle ct --segmenter ct-0.1.0.thorax --stress-pictures 60 --model-version 0.6.0
integers ct --model-version 0.7.0 --keep-float net/n1,net/n49

echo "done; the lines for models/trusted.keys: $(cat xray.pub ct.pub)"
