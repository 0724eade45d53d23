#!/bin/sh
# Bundle zarrita into the viewer's page, which then reads a store from any web server, with no server of ours.
# What it writes is no part of the repository; without it everything else works.
set -eu
cd "$(dirname "$0")/.."
page=ctspine_zarr/viewer/page
command -v npm >/dev/null || { echo "bundling zarrita needs npm, of Node.js 20 or later" >&2; exit 1; }

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cp scripts/page/package.json scripts/page/zarrita.js "$scratch"
(
    cd "$scratch"
    npm install --silent --no-audit --no-fund --no-package-lock --ignore-scripts
    # zarrita imports them when a codec is asked for that is not registered anew: none is.
    node_modules/.bin/esbuild zarrita.js --bundle --format=esm --minify --outdir=built \
        '--external:numcodecs/*' --log-level=warning
    for name in zarrita @zarrita/storage zstddec; do
        printf '%s, %s\n\n' "$name" "$(node -p "require('./node_modules/$name/package.json').version")"
        cat "node_modules/$name/LICENSE"
        echo
    done >built/zarrita.LICENSE.txt
)
rm -f "$page"/zarrita*
cp "$scratch"/built/zarrita* "$page"
