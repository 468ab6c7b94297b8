#!/usr/bin/env bash
# Installs what building (`setup.sh build`), testing (`test`) or making packages (`package`) needs from Debian's or Ubuntu's packages; does nothing if all is there.
set -euo pipefail

build_packages=(g++ cmake ninja-build pkg-config nlohmann-json3-dev libcli11-dev libfmt-dev libexpected-dev libutf8proc-dev libpng-dev
  libxxhash-dev libsqlite3-dev libhiredis-dev libcurl4-gnutls-dev libmicrohttpd-dev libgnutls28-dev libjpeg-dev libwebp-dev libdnnl-dev opencl-headers ocl-icd-opencl-dev)
test_packages=(ccache libgtest-dev libgmock-dev libpcre2-dev clang-format-14 clang-tidy-14 clang-14 libclang-rt-14-dev python3 python3-jsonschema python3-pytest redis-server curl openssl)

packages=("${build_packages[@]}")
case "${1:-build}" in
  build) ;;
  test) packages+=("${test_packages[@]}") ;;
  package) packages+=(dpkg-dev file) ;;
  *) echo "usage: setup.sh build|test|package" >&2; exit 2 ;;
esac

missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q '^install ok installed$' || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0

if ! command -v apt-get >/dev/null; then
  echo "setup: this system has no apt-get; install by its own means: ${missing[*]}" >&2
  exit 1
fi
sudo=()
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || { echo "setup: run as root (or install sudo) to install: ${missing[*]}" >&2; exit 1; }
  sudo=(sudo)
fi
echo "setup: installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
"${sudo[@]}" apt-get -o DPkg::Lock::Timeout=300 update -qq
"${sudo[@]}" apt-get -o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
