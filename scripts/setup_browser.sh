#!/bin/sh
# Make sure that there is a Chromium, in which the viewer's page is tested.
set -eu
for name in chromium chromium-browser google-chrome chrome; do
    if command -v "$name" >/dev/null; then exit 0; fi
done
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    apt-get update -qq
    apt-get install -qq -y --no-install-recommends chromium fonts-dejavu-core >/dev/null
else
    echo "the viewer's browser tests need Chromium or Chrome on the PATH, such as Debian's package chromium" >&2
    exit 1
fi
