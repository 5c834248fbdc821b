#!/bin/sh
# Makes .venv what the locks say: `run` for the main job, `test` for what only its tests need, too.
# Says a line a step; what the tools themselves say is in .venv/setup.log.
set -eu
cd "$(dirname "$0")/.."

VENV=.venv
LOG=$VENV/setup.log
BUSY=$VENV/.ash-busy  # there while .venv is worked on: what was cut off is begun anew
MADE=$VENV/.ash-made  # whose Python .venv has, and where it is

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

# The interpreter itself: `python3` may be one of a .venv that is about to be removed.
find_python() {
    for name in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
        "$name" -c 'import sys; sys.version_info >= (3, 11) or sys.exit(1); print(sys._base_executable)' \
          2>/dev/null && return
    done
    return 1
}

# The programs in a .venv name their folder: moved, it is another.
identity() {
    "$1" -c 'import os, sys; print(os.getcwd(), sys.base_prefix, *sys.version_info[:2])' 2>/dev/null
}

must_be_made() {
    [ ! -e $BUSY ] && [ -e $MADE ] || return 0
    [ "$(identity $VENV/bin/python)" = "$(cat $MADE)" ] || return 0
    # Without a wish one that works is kept, whatever `python3` is by now.
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

# Does it unless it was done with the same file. A copy of that is the mark.
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
    # What tests need holds what the main job needs.
    cp requirements.lock $VENV/.ash-requirements.lock
}

install_ash() {
    install --no-deps --no-build-isolation -e . || fail_step "ash can't be installed into $VENV"
}

# With uv, which takes a quarter of the time; else with pip.
install() {
    if uv=$(find_uv); then
        UV_DEFAULT_INDEX=$(mirror) logged \
          "$uv" pip install --quiet --python $VENV/bin/python --compile-bytecode "$@" && return
        echo "uv could not; pip tries, which takes longer …"
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

# Who has told pip of a mirror means it for uv as well.
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

# Of the step that is under way.
unreachable() {
    grep -qE 'name resolution|not known|NewConnection|unreachable|[Cc]onnection refused|dns error|tcp connect' $LOG
}

fail_step() {
    if unreachable; then
        rm -f $BUSY  # uv and pip fetch all before they change anything
        fail "the package index can't be reached. See to the network, a proxy (HTTPS_PROXY) or a mirror (PIP_INDEX_URL), then start again. More is in $LOG"
    fi
    grep -v '^WARNING' $LOG | tail -n 10 >&2
    fail "$1. Above is the end of $LOG; once that is seen to, start again"
}

fail() {
    echo "Set-up failed: $1" >&2
    exit 1
}

main "${1:-run}"
