#!/bin/sh
# Build what is published of the package and, where cargo is, of its kernel: sources and wheels, in a folder.
# Ends with an error where they are not whole: see check_distributions.py.
set -eu
venv=$1
dist=$2
cd "$(dirname "$0")/.."

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
build() { "$venv/bin/uv" build --quiet --no-create-gitignore --python "$venv/bin/python" "$@"; }

page=ctspine_zarr/viewer/page/zarrita.js
if [ ! -e $page ] && command -v npm >/dev/null; then sh scripts/build_page.sh; fi
[ -e $page ] || echo "going on without $page, which needs npm: not to be published so" >&2

rm -rf "$dist"
# The sources, and from these the wheel; then a wheel from what lies here, which must be the same.
build --out-dir "$dist" .
build --wheel --out-dir "$scratch" .
"$venv/bin/python" scripts/check_distributions.py "$dist" "$scratch"
if command -v cargo >/dev/null; then
    # What was compiled before is kept.
    CARGO_TARGET_DIR="$PWD/native/target" build --sdist --wheel --out-dir "$dist" native
fi
"$venv/bin/twine" check --strict "$dist"/*
