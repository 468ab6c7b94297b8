#!/usr/bin/env bash
# Makes src/fonts/ from the packages of Bodoni Moda and Hanken Grotesk (SIL OFL 1.1): Latin letters alone, and of Bodoni one weight and optical size.
# Needs fonttools and brotli (Debian: python3-fonttools python3-brotli).
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
npm install --silent --no-save --prefix "$work" @fontsource-variable/bodoni-moda@5.3.0 @fontsource-variable/hanken-grotesk@5.3.0
files="$work/node_modules/@fontsource-variable"
letters=U+0020-007E,U+00A0,U+00A9,U+00B0,U+00B7,U+00C0-00D6,U+00D7,U+00D8-00F6,U+00F8-00FF,U+2013,U+2014,U+2018-201D,U+2022,U+2026,U+2116,U+2190-2193,U+2212

make() {  # SOURCE NAME AXES...
  local source=$1 name=$2
  shift 2
  python3 -m fontTools.varLib.instancer -q "$source" "$@" -o "$work/$name.ttf"
  SOURCE_DATE_EPOCH=0 python3 -m fontTools.subset "$work/$name.ttf" --unicodes="$letters" --layout-features=kern,liga,tnum,lnum,onum,frac --no-hinting --desubroutinize \
    --flavor=woff2 --output-file="src/fonts/$name.woff2"
}
make "$files/bodoni-moda/files/bodoni-moda-latin-opsz-normal.woff2" bodoni opsz=14 wght=460
make "$files/bodoni-moda/files/bodoni-moda-latin-opsz-italic.woff2" bodoni-italic opsz=11 wght=420
make "$files/hanken-grotesk/files/hanken-grotesk-latin-wght-normal.woff2" hanken wght=400:650
ls -l src/fonts
