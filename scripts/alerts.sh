#!/usr/bin/env bash
# Checks what is in deploy/ for Prometheus with its own promtool, and tries the alerts on made-up histories.
# Where promtool is not installed, it is taken out of Debian's package, into build/: nothing is installed or started.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

promtool=$(command -v promtool || true)
if [ -z "$promtool" ]; then
    promtool=$PWD/build/promtool/usr/bin/promtool
fi
if [ ! -x "$promtool" ]; then
    if ! command -v apt-get >/dev/null; then
        echo "This needs promtool, which comes with Prometheus: put it into PATH." >&2
        exit 1
    fi
    echo "Fetching promtool (once) ..."
    mkdir -p build/promtool
    (
        cd build/promtool
        if ! said=$(apt-get -qq download prometheus 2>&1); then
            echo "$said" >&2
            echo "If the package is not known: apt-get update" >&2
            exit 1
        fi
        dpkg-deb --extract prometheus_*.deb .
        rm prometheus_*.deb
    )
fi
"$promtool" check config deploy/prometheus/prometheus.yml
"$promtool" test rules deploy/prometheus/alerts_test.yml
