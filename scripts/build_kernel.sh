#!/bin/sh
# Build the native kernel and install it beside the package; without it everything works, slower.
# Goes on, and says so in a line, where there is no cargo, no network, or the build fails.
set -eu
venv=$1
cd "$(dirname "$0")/.."

without() {
    echo "going on without the native kernel: $1" >&2
    "$venv/bin/python" -m pip uninstall --quiet --yes ctspine-zarr-native
    exit 0
}

command -v cargo >/dev/null || without "there is no cargo"
# What was compiled before is kept, and only what changed is compiled again.
CARGO_TARGET_DIR="$PWD/native/target" "$venv/bin/python" -m pip install --force-reinstall --no-deps ./native \
    >"$venv/kernel.log" 2>&1 || without "its build failed, see $venv/kernel.log"
