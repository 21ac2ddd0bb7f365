#!/usr/bin/env bash
# Writes requirements/*.txt: what the images install, each archive with its hash, for every kind of Linux machine.
# Run it after a change of pyproject.toml, constraints.txt or requirements-data.txt; a test says when it was forgotten.
#   api.txt    what answers, and what sends traces or trains on a cluster where that is asked for
#   train.txt  the same and what trains; without torch, which comes from an index of the builder's choice (see Dockerfile)
#   data.txt   the packages of built-in data, without what they ask for
#   ray.txt    Ray, for the nodes of a cluster, in an environment of its own
# uv resolves: its hashes are of all archives of a release, pip's report knows only the one for this machine.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python=.venv/bin/python
$python -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet uv

# uv does not read pip's settings: those of this machine, as uv calls them.
setting() { "$work/venv/bin/pip" config get "$1" 2>/dev/null || true; }
index=${PIP_INDEX_URL:-$(setting global.index-url)}
links=$(setting global.find-links)
[ -z "$index" ] || export UV_DEFAULT_INDEX=$index

lock() { # lock TO ARGUMENTS...
  local to=$1
  shift
  # Through a file of its own: uv would keep what an old one pins.
  "$work/venv/bin/uv" pip compile --quiet --no-header --no-annotate --generate-hashes --python-version 3.11 \
    --python-platform linux --python "$python" ${links:+--find-links "$links"} "$@" --output-file "$work/locked"
  { echo "# Written by scripts/lock.sh"; cat "$work/locked"; } >"requirements/$to"
}

mkdir -p requirements
lock api.txt pyproject.toml --extra tracing --extra cluster --extra s3 --constraints constraints.txt
lock train.txt pyproject.toml --extra tracing --extra cluster --extra s3 --extra train --constraints constraints.txt --no-emit-package torch
lock data.txt requirements-data.txt --no-deps
lock ray.txt requirements-ray.txt
wc -l requirements/*.txt
