#!/bin/sh
# Sees to the system packages that ash needs: installs them when root on Debian, else says which.
# With the word `test`, also to what only its tests need: a browser.
set -eu

missing=""
command -v bwrap >/dev/null 2>&1 || missing="$missing bubblewrap"
# Debian keeps ensurepip, which makes a .venv usable, in a package of its own.
"${PYTHON:-python3}" -c 'import ensurepip' >/dev/null 2>&1 || missing="$missing python3-venv"
if [ "${1:-}" = test ]; then
    command -v chromium >/dev/null 2>&1 || command -v google-chrome >/dev/null 2>&1 \
      || missing="$missing chromium"
fi
[ -n "$missing" ] || exit 0

if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "Installing$missing …"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    # shellcheck disable=SC2086  # one word a package
    apt-get install -y -qq --no-install-recommends $missing >/dev/null
else
    echo "Please install$missing first, for example: sudo apt-get install$missing" >&2
    case "$missing" in *python3-venv*) exit 1 ;; esac
fi
