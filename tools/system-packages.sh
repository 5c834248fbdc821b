#!/bin/sh
# Installs the system packages that ash needs, as root on Debian. Otherwise says which are missing.
# With the argument `test` also what only its tests need: a browser, and the proxies of
# docs/proxies.md.
set -eu

has() { PATH="$PATH:/usr/sbin" command -v "$1" >/dev/null; }

missing=""
has bwrap || missing="$missing bubblewrap"
# Debian keeps ensurepip, which makes a .venv usable, in a package of its own.
[ -x .venv/bin/python ] || "${PYTHON:-python3}" -c 'import ensurepip' 2>/dev/null \
  || missing="$missing python3-venv"
if [ "${1:-}" = test ]; then
    has chromium || has google-chrome || missing="$missing chromium"
    has nginx || missing="$missing nginx-light"
    has haproxy || missing="$missing haproxy"
    has caddy || missing="$missing caddy"
    has varnishd || missing="$missing varnish"
    has apache2 || missing="$missing apache2-bin"
    has lighttpd || missing="$missing lighttpd"
fi
[ -n "$missing" ] || exit 0

if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    echo "Please install$missing first, for example: sudo apt-get install$missing" >&2
    case "$missing" in *python3-venv*) exit 1 ;; *) exit 0 ;; esac
fi

# The tests start the proxies themselves. As services they would take the machine's ports.
services=""
if [ -d /run/systemd/system ]; then
    for package in $missing; do
        case "$package" in
            nginx-light) services="$services nginx" ;;
            varnish) services="$services varnish varnishncsa" ;;
            haproxy | caddy | lighttpd) services="$services $package" ;;
        esac
    done
fi

echo "Installing$missing …"
log=$(mktemp)
# shellcheck disable=SC2086  # one word a service or a package
finish() {
    rm -f "$log"
    if [ -n "$services" ]; then
        systemctl unmask -q $services && systemctl disable -q $services || true
    fi
}
trap finish EXIT
# shellcheck disable=SC2086
[ -z "$services" ] || systemctl mask -q $services
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086
if ! { apt-get update -qq && apt-get install -y -qq --no-install-recommends $missing; } >"$log" 2>&1
then
    tail -n 5 "$log" >&2
    echo "apt-get failed, see above. Fix the cause or install$missing by hand, then try again" >&2
    exit 1
fi
