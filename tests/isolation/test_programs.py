"""Common programs work in the sandbox with the filter."""

import shutil
import sys

import pytest

from tests.isolation.conftest import output

GIT = """
export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
git init -q . 2>/dev/null && echo hi > file && git add file && git commit -qm first &&
git clone -q . copy && git -C copy log --format=%s
"""
VENV = """
$PYTHON -m venv --without-pip env && env/bin/python -c '
import subprocess, threading
thread = threading.Thread(target=lambda: subprocess.run(["echo", "first"]))
thread.start()
thread.join()'
"""
POOL = """$PYTHON -c '
from concurrent.futures import ProcessPoolExecutor
print(list(ProcessPoolExecutor(2).map(str.lower, ["FIRST"]))[0])'
"""
NODE = """node -e '
const { Worker } = require("worker_threads")
const { execFileSync } = require("child_process")
new Worker("process.exit(0)", { eval: true }).on("exit", () =>
  console.log(execFileSync("sh", ["-c", "echo first"]).toString().trim()))'
"""
NPM = """
echo '{"name": "x", "version": "1.0.0", "scripts": {"go": "node -p 1 && echo first"}}' \
  > package.json
npm run --silent go | tail -1
"""
GCC = """
printf '#include <stdio.h>\nint main(void) { puts("first"); }' > a.c
gcc -fsanitize=address a.c && ASAN_OPTIONS=detect_leaks=0 ./a.out
"""
TERMINAL = """$PYTHON -c '
import pty
pty.spawn(["sh", "-c", "test -t 0 && stty size >/dev/null && echo first"])'
"""
PERL = "perl -e 'print qx(echo first)'"

PROGRAMS = {
    "bash": "cat <(echo first) | sort | head -1",
    sys.executable: VENV,
    "git": GIT,
    "node": NODE,
    "npm": NPM,
    "gcc": GCC,
    "perl": PERL,
}
HERE = [(name, code) for name, code in PROGRAMS.items() if shutil.which(name)]


@pytest.mark.parametrize(("name", "code"), HERE, ids=[name for name, _ in HERE])
def test_program_works(name, code, isolation, host_paths):
    """Programs installed on the host work, with their processes, threads and files."""
    assert "first" == output(isolation, host_paths, code)


def test_processes_share_work(isolation, host_paths):
    """Locks, pipes and shared memory between processes work."""
    assert "first" == output(isolation, host_paths, POOL)


def test_terminals_can_be_made(isolation, host_paths):
    """A program can make a pseudo-terminal."""
    assert "first" == output(isolation, host_paths, TERMINAL)
