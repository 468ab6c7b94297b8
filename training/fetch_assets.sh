#!/bin/sh
# Fetches the drawings and the word source (by package name) into training/.cache/packages.
# Debian packages needed besides: librsvg2-bin python3-torch python3-numpy python3-pil python3-regex
# fonts-lato fonts-ebgaramond fonts-courier-prime fonts-comfortaa fonts-bebas-neue
set -eu
cd "$(dirname "$0")"
mkdir -p .cache/packages
cd .cache/packages
for package in @iconify-json/noto @iconify-json/fluent-emoji-flat @iconify-json/twemoji emojibase-data; do
  npm pack --silent "$package"
done
ls -l
