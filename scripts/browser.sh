#!/usr/bin/env bash
# Sees that Chromium and a font with Hangul are there: the browser tests look at the page with them. Debian, Ubuntu:
# installs the packages as root; elsewhere it says what is missing.
set -euo pipefail

if command -v chromium >/dev/null && fc-list 2>/dev/null | grep -qi nanum; then
    exit 0
fi
if ! command -v apt-get >/dev/null || [ "$(id -u)" -ne 0 ]; then
    echo "The tests need Chromium and the Nanum fonts. On Debian or Ubuntu: sudo scripts/browser.sh" >&2
    echo "Elsewhere: install them so that chromium is in PATH." >&2
    exit 1
fi
echo "Installing Chromium for the tests (once) ..."
export DEBIAN_FRONTEND=noninteractive
packages=(chromium fontconfig fonts-nanum fonts-noto-color-emoji)
if ! said=$({ apt-get -qq update && apt-get -qq install --yes --no-install-recommends "${packages[@]}"; } 2>&1); then
    echo "$said" >&2
    exit 1
fi
