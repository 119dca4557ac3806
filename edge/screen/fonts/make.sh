#!/usr/bin/env bash
# Makes the fonts of this folder anew: Noto Sans and Noto Sans Devanagari (Debian's fonts-noto-core), only the characters that the panel can show, without
# hints, which the rasterizer does not use. Needs apt-get, dpkg-deb and Python with fonttools (pip install fonttools).
set -euo pipefail
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
(cd "$work" && apt-get download -qq fonts-noto-core && dpkg-deb -x fonts-noto-core_*.deb .)
for weight in Regular Bold; do
    # ISO 8859-1, and what typesetting and figures want.
    pyftsubset "$work/usr/share/fonts/truetype/noto/NotoSans-$weight.ttf" --output-file="NotoSans-$weight.ttf" --no-hinting --desubroutinize \
        --layout-features='' --unicodes=20-7E,A0-FF,152,153,2013,2014,2018,2019,201C,201D,2026,2190-2193
    # With every feature: without them Devanagari is not written but spelled.
    pyftsubset "$work/usr/share/fonts/truetype/noto/NotoSansDevanagari-$weight.ttf" --output-file="NotoSansDevanagari-$weight.ttf" --no-hinting \
        --layout-features='*' --unicodes=0900-097F,200C,200D,25CC,20-3F,2013,2014,2018,2019,201C,201D,2026
done
