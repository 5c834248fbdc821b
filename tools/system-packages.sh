#!/bin/sh
# Installs the system packages that ash needs, as root on Debian. Otherwise says which are missing.
# With the argument `test` also what only its tests need: a browser.
set -eu

missing=""
command -v bwrap >/dev/null || missing="$missing bubblewrap"
# Debian keeps ensurepip, which makes a .venv usable, in a package of its own.
[ -x .venv/bin/python ] || "${PYTHON:-python3}" -c 'import ensurepip' 2>/dev/null \
  || missing="$missing python3-venv"
if [ "${1:-}" = test ]; then
    command -v chromium >/dev/null || command -v google-chrome >/dev/null \
      || missing="$missing chromium"
fi
[ -n "$missing" ] || exit 0

if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    echo "Please install$missing first, for example: sudo apt-get install$missing" >&2
    case "$missing" in *python3-venv*) exit 1 ;; *) exit 0 ;; esac
fi

echo "Installing$missing …"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086  # one word a package
if ! { apt-get update -qq && apt-get install -y -qq --no-install-recommends $missing; } >"$log" 2>&1
then
    tail -n 5 "$log" >&2
    echo "apt-get failed, see above. Fix the cause or install$missing by hand, then try again" >&2
    exit 1
fi
