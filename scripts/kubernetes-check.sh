#!/usr/bin/env bash
# Renders the manifests, where kubectl is, and holds them against the schemas of several Kubernetes versions, strictly: a
# misspelt field is an error. The schemas come with the Python package kubernetes-validate (100 MB, so not in .venv).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
.venv/bin/python -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet kubernetes-validate==1.37.0 2>/dev/null

if command -v kubectl >/dev/null; then
  files=()
  for part in base cluster; do
    kubectl kustomize "deploy/kubernetes/$part" >"$work/$part.yaml"
    files+=("$work/$part.yaml")
  done
else
  echo "no kubectl: the base's files are checked as they are; the cluster's are changes to them, and are not checked"
  mapfile -t files < <(find deploy/kubernetes/base -name '*.yaml' ! -name kustomization.yaml)
fi
for version in 1.27 1.30 1.33 1.37; do # 1.27: the oldest that knows unhealthyPodEvictionPolicy by default
  "$work/venv/bin/kubernetes-validate" --strict --quiet -k "$version" "${files[@]}"
  echo "valid for Kubernetes $version: $(cat "${files[@]}" | grep -c '^kind:') objects"
done

# The check itself: it must see a misspelt field.
sed 's/readOnlyRootFilesystem/readOnlyRootFileSystem/' "${files[@]}" >"$work/broken.yaml"
if "$work/venv/bin/kubernetes-validate" --strict --quiet -k 1.33 "$work/broken.yaml" >/dev/null 2>&1; then
  echo "FAILED: a misspelt field went through" >&2
  exit 1
fi
echo PASSED
