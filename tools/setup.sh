#!/bin/sh
# Makes .venv and installs the pinned packages into it.
# `sh tools/setup.sh run` installs what ash needs; `sh tools/setup.sh test` adds what its tests need.
# It prints one line for each step. The output of pip and uv goes to .venv/setup.log.
set -eu
cd "$(dirname "$0")/.."

VENV=.venv
LOG=$VENV/setup.log
BUSY=$VENV/.ash-busy  # exists while a step runs; if a run finds it, the run before was interrupted
MADE=$VENV/.ash-made  # which Python .venv was made with, and in which folder

main() {
    one_at_a_time
    python=$(find_python) || fail "ash needs Python 3.11 or newer: make … PYTHON=/path/to/python3.11"
    if must_be_made; then
        make_venv
    fi
    if [ "$1" = test ]; then
        step requirements-dev.lock "Installing what ash and its tests need …" packages
    else
        step requirements.lock "Installing what ash needs …" packages
    fi
    step pyproject.toml "Installing ash …" ash
}

one_at_a_time() {
    command -v flock >/dev/null || return 0
    exec 9<Makefile
    flock --nonblock 9 || { echo "Waiting for another set-up …"; flock 9; }
}

# Prints the base interpreter. `python3` may be the one in .venv, which make_venv removes.
find_python() {
    for name in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
        "$name" -c 'import sys; sys.version_info >= (3, 11) or sys.exit(1); print(sys._base_executable)' \
          2>/dev/null && return
    done
    return 1
}

# The scripts in .venv contain its path, so a .venv that was moved does not work.
identity() {
    "$1" -c 'import os, sys; print(os.getcwd(), sys.base_prefix, *sys.version_info[:2])' 2>/dev/null
}

must_be_made() {
    [ ! -e $BUSY ] && [ -e $MADE ] || return 0
    [ "$(identity $VENV/bin/python)" = "$(cat $MADE)" ] || return 0
    # Unless PYTHON asks for another interpreter, a .venv that works is kept.
    [ -n "${PYTHON:-}" ] && [ "$(identity "$python")" != "$(cat $MADE)" ]
}

make_venv() {
    echo "Making $VENV with $("$python" --version) …"
    rm -rf $VENV
    mkdir $VENV
    begin
    logged "$python" -m venv $VENV \
      || fail_step "$python can't make a $VENV. On Debian apt-get install python3-venv helps"
    identity $VENV/bin/python >$MADE
}

# Runs install_$3 unless it has already run with the same content of file $1.
# A copy of the file in .venv records that.
step() {
    file=$1 text=$2 what=$3
    if ! cmp -s "$file" "$VENV/.ash-$file"; then
        echo "$text"
        begin
        "install_$what" "$file"
        cp "$file" "$VENV/.ash-$file"
    fi
    rm -f $BUSY
}

begin() {
    : >$BUSY
    : >$LOG
}

install_packages() {
    install --require-hashes -r "$1" || fail_step "the packages of $1 can't be installed"
    # requirements-dev.lock contains all of requirements.lock.
    cp requirements.lock $VENV/.ash-requirements.lock
}

install_ash() {
    install --no-deps --no-build-isolation -e . || fail_step "ash can't be installed into $VENV"
}

# Tries uv first, which is four times as fast, then pip.
install() {
    if uv=$(find_uv); then
        UV_DEFAULT_INDEX=$(mirror) logged \
          "$uv" pip install --quiet --python $VENV/bin/python --compile-bytecode "$@" && return
        echo "uv failed; trying pip, which takes longer …"
    elif unreachable; then
        return 1
    fi
    pip "$@"
}

find_uv() {
    for uv in $VENV/bin/uv uv; do
        if "$uv" --version >/dev/null 2>&1; then
            echo "$uv"
            return
        fi
    done
    pip --require-hashes -r requirements-uv.lock && echo $VENV/bin/uv
}

# uv does not read pip's settings: a mirror that is set for pip is passed on.
mirror() {
    echo "${UV_DEFAULT_INDEX:-${UV_INDEX_URL:-${PIP_INDEX_URL:-$(
      $VENV/bin/python -m pip config get global.index-url 2>/dev/null)}}}"
}

pip() {
    logged $VENV/bin/python -m pip install --quiet --disable-pip-version-check "$@"
}

logged() {
    echo "+ $*" >>$LOG
    "$@" >>$LOG 2>&1
}

# Whether the log of this step shows a network error.
unreachable() {
    grep -qE 'name resolution|not known|NewConnection|unreachable|[Cc]onnection refused|dns error|tcp connect' $LOG
}

fail_step() {
    if unreachable; then
        rm -f $BUSY  # nothing was changed: uv and pip download everything first
        fail "the package index can't be reached. Check the network, or set a proxy (HTTPS_PROXY) or a mirror (PIP_INDEX_URL), then try again. Details: $LOG"
    fi
    grep -v '^WARNING' $LOG | tail -n 10 >&2
    fail "$1. The lines above are the end of $LOG. Fix the cause, then try again"
}

fail() {
    echo "Set-up failed: $1" >&2
    exit 1
}

main "${1:-run}"
