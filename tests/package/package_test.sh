#!/usr/bin/env bash
# Intaglio from a project outside its tree: package_test.sh CASE TREE BUILD
# CASE: program, cmake_package, pkg_config: what `cmake --install BUILD` made, after it was moved; add_subdirectory: the tree in another project.
set -euo pipefail
usage="usage: package_test.sh CASE TREE BUILD"
case=${1:?$usage} tree=$(cd "${2:?$usage}" && pwd) build=$(cd "${3:?$usage}" && pwd)
work=$(mktemp -d)
embedded=
trap 'rm -rf "$work" $embedded' EXIT
cached() { sed -n "s/^$1:[A-Z]*=//p" "$build/CMakeCache.txt"; }
version=$(sed -nE 's/^#define INTAGLIO_VERSION_[A-Z]+ ([0-9]+)$/\1/p' "$tree/include/intaglio/intaglio.h" | paste -sd.)

prefix=$work/moved
install_and_move() {
  cmake --install "$build" --prefix "$work/first" >"$work/install.log" || { cat "$work/install.log"; exit 1; }
  mv "$work/first" "$prefix"
  ! grep -rlF "$work/first" "$prefix" || { echo "the files above name the folder that they were installed into"; exit 1; }
}

# The tiny program, with the case's build files beside it.
project=$work/project
mkdir "$project"
cp "$tree/tests/package/version.c" "$project/"
[ ! -d "$tree/tests/package/$case" ] || cp "$tree/tests/package/$case"/* "$project/"

case $case in
  program)
    install_and_move
    cd "$work"
    unset INTAGLIO_MODELS
    "$prefix/bin/intaglio" --version | grep -qxF "intaglio $version"
    # Nothing of the tree is above this folder, so the bundled model is the installed one.
    "$prefix/bin/intaglio" inspect mini >inspected.txt
    "$prefix/bin/intaglio" generate --model mini --prompt 'an owl' --steps 1 --output owl.png >drawn.txt
    [ "$(head -c 4 owl.png | tail -c 3)" = PNG ]
    for file in LICENSE NOTICE THIRD_PARTY_NOTICES.md; do cmp "$tree/$file" "$prefix/share/doc/intaglio/$file"; done
    diff -r "$tree/models/mini" "$prefix/share/intaglio/models/mini"
    diff -r "$tree/apps/intaglio/schemas" "$prefix/share/intaglio/schemas"
    ;;
  cmake_package)
    install_and_move
    cmake -S "$project" -B "$work/build" -DCMAKE_PREFIX_PATH="$prefix" -DINTAGLIO_EXPECTED="$version"
    cmake --build "$work/build"
    "$work/build/version"
    ;;
  pkg_config)
    install_and_move
    PKG_CONFIG_PATH=$(dirname "$(find "$prefix" -name intaglio.pc)")
    export PKG_CONFIG_PATH
    [ "$(pkg-config --modversion intaglio)" = "$version" ]
    make -C "$project"
    LD_LIBRARY_PATH=$(pkg-config --variable=libdir intaglio) "$project/version"
    ;;
  add_subdirectory)
    # The folder lies where the compiler cache sees the paths of this build.
    embedded=$(mktemp -d "$build-embedded.XXXXXX")
    launcher=$(command -v ccache || true)
    cmake -G Ninja -S "$project" -B "$embedded" -DINTAGLIO_TREE="$tree" -DCMAKE_BUILD_TYPE="$(cached CMAKE_BUILD_TYPE)" -DCMAKE_CXX_COMPILER="$(cached CMAKE_CXX_COMPILER)" \
      -DINTAGLIO_CUDA="$(cached INTAGLIO_CUDA)" -DINTAGLIO_CUDA_ARCHITECTURES="$(cached INTAGLIO_CUDA_ARCHITECTURES)" -DCMAKE_CXX_COMPILER_LAUNCHER="$launcher"
    if [ -z "$launcher" ]; then
      echo "configured; not built, as there is no compiler cache that knows the engine"
      exit 0
    fi
    CCACHE_BASEDIR=$tree CCACHE_NOHASHDIR=1 cmake --build "$embedded" --target version
    "$embedded/programs/version"
    ;;
  *) echo "$usage" >&2; exit 2 ;;
esac
