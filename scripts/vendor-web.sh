#!/usr/bin/env bash
# What the page uses of others, as npm publishes it: run after changing a version here, and commit what it writes.
set -euo pipefail
into=$(cd "$(dirname "${BASH_SOURCE[0]}")/../app/web/static" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

fetch() { npm pack --silent "$1" >/dev/null && tar xzf ./*.tgz && rm ./*.tgz; }

fetch uplot@1.6.32  # MIT
cp package/dist/uPlot.esm.js package/dist/uPlot.min.css "$into/vendor/"
cp package/LICENSE "$into/vendor/uPlot.LICENSE"
rm -r package

fetch eventsource-parser@3.1.1  # MIT
sed '/sourceMappingURL/d' package/dist/index.js > "$into/vendor/eventsource-parser.js"
cp package/LICENSE "$into/vendor/eventsource-parser.LICENSE"
rm -r package

fetch @fontsource-variable/ibm-plex-sans@5.3.0  # OFL 1.1
cp package/files/ibm-plex-sans-latin-wght-normal.woff2 "$into/fonts/plex-sans.woff2"
cp package/LICENSE "$into/fonts/plex-sans.LICENSE"
