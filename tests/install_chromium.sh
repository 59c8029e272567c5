#!/bin/sh
# Debian's Chromium, in which the tests open reports; needs root.
set -eu
command -v chromium >/dev/null && exit
[ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || { echo "Chromium needs root and apt-get here" >&2; exit 1; }
export DEBIAN_FRONTEND=noninteractive
options="-y -qq --no-install-recommends"
apt-get install $options chromium >/dev/null || { apt-get update -qq && apt-get install $options chromium >/dev/null; }
