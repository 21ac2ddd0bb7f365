#!/usr/bin/env bash
# Sees that nginx is there, for the tests and benchmarks with several APIs behind it. Debian, Ubuntu: installs the package
# as root and starts nothing. Where it cannot, it says so, and what needs nginx is skipped.
set -euo pipefail

if command -v nginx >/dev/null || [ -x /usr/sbin/nginx ]; then
    exit 0
fi
if ! command -v apt-get >/dev/null || [ "$(id -u)" -ne 0 ]; then
    echo "Tests behind nginx are skipped. On Debian or Ubuntu: sudo scripts/nginx.sh" >&2
    exit 0
fi
echo "Installing nginx for the tests (once) ..."
export DEBIAN_FRONTEND=noninteractive
# What says no to every start while the package is installed.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
    trap 'rm -f "$policy"' EXIT
fi
if ! said=$({ apt-get -qq update && apt-get -qq install --yes --no-install-recommends nginx-light; } 2>&1); then
    echo "$said" >&2
    echo "nginx could not be installed; tests behind it are skipped." >&2
fi
