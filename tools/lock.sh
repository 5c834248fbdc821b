#!/bin/sh
# Pins all dependencies anew, for every Python version that ash supports. pip needs the extras and
# the hashes. The locks name no index, so that they work with a mirror.
set -eu
cd "$(dirname "$0")/.."

uv=.venv/bin/uv
[ -x $uv ] || uv=uv

compile() {
    $uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
      --no-strip-extras --no-header --no-emit-index-url --annotation-style line "$@"
}

compile pyproject.toml --extra snapshots --group build --group dev -o requirements-dev.lock
compile pyproject.toml --extra snapshots --group build -c requirements-dev.lock \
  -o requirements.lock
echo uv | compile - -o requirements-uv.lock
