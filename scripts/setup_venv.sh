#!/bin/sh
# Make .venv with the package and what tests, demo and checks need.
# Finds Python 3.12 or newer where `python3` is older: uv, python3.x on the PATH, or pyenv.
set -eu
venv=${1:-.venv}
groups=${2:-test lint}
cd "$(dirname "$0")/.."

new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 12))' >/dev/null 2>&1; }

find_python() {
    for candidate in python3 python3.13 python3.14 python3.12 \
        "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.13*/bin/python \
        "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.1[2-9]*/bin/python; do
        if new_enough "$candidate"; then echo "$candidate"; return; fi
    done
}

python=$(find_python)
if [ -n "$python" ]; then
    "$python" -m venv "$venv"
elif command -v uv >/dev/null; then
    uv venv --seed --python '>=3.12' "$venv"
else
    echo "ctspine_zarr needs Python 3.12 or newer; found none on the PATH or in pyenv, and no uv." >&2
    echo "Install one, for example with: pyenv install 3.13, or: pip install uv" >&2
    exit 1
fi
# Unlike pip, uv keeps no second copy of what it installs while it does; unlike pip, it compiles only if told to.
"$venv/bin/python" -m pip install --quiet uv
set --
for group in $groups; do set -- "$@" --group "$group"; done
"$venv/bin/uv" pip install --quiet --compile-bytecode --python "$venv/bin/python" --editable . "$@"
