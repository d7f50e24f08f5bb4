#!/usr/bin/env bash
# Fetches the server of the comparison that Debian does not have: Bun, from npm, into
# bench/peers/node_modules, if no `bun` is there. Without a network the comparison leaves it out, so
# this is no reason to end.
set -euo pipefail
cd "$(dirname "$0")"

version=1.4.5

[ -x node_modules/.bin/bun ] && exit 0
command -v bun >/dev/null && exit 0
echo "Installing Bun $version, a server to compare with"
npm install --prefix . --no-save --no-package-lock --no-audit --no-fund --loglevel=error \
    "bun@$version" || echo 'bench/peers/install.sh: Bun cannot be fetched; it will be left out' >&2
