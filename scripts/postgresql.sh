#!/usr/bin/env bash
# Sees that PostgreSQL's programs are there: the tests start a server of their own with them. Debian, Ubuntu: installs
# the package as root, without the server and the database that it would set up; elsewhere it says what is missing.
set -euo pipefail

if compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || command -v initdb >/dev/null; then
    exit 0
fi
if ! command -v apt-get >/dev/null || [ "$(id -u)" -ne 0 ]; then
    echo "The tests need PostgreSQL 13 or newer (initdb, postgres). On Debian or Ubuntu: sudo scripts/postgresql.sh" >&2
    echo "Elsewhere: install it so that initdb is in PATH." >&2
    exit 1
fi
echo "Installing PostgreSQL for the tests (once) ..."
# For the time of the installation alone: the package makes no cluster, so nothing is started either.
settings=/etc/postgresql-common/createcluster.d
mkdir -p "$settings"
echo 'create_main_cluster = false' >"$settings/inkling-tests.conf"
trap 'rm -f "$settings/inkling-tests.conf"' EXIT
export DEBIAN_FRONTEND=noninteractive
if ! said=$({ apt-get -qq update && apt-get -qq install --yes --no-install-recommends postgresql; } 2>&1); then
    echo "$said" >&2
    exit 1
fi
