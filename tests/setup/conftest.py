"""Copies of the checkout that are like a fresh clone, and virtual environments to install into."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
_NOT_CLONED = shutil.ignore_patterns(".git", ".venv", "__pycache__", ".*_cache", ".hypothesis")
OLDEST_PIP = "pip==23.0"


class Clone:
    """A copy of the checkout, without .git and .venv."""

    def __init__(self, path):
        self.path = shutil.copytree(CHECKOUT, path, ignore=_NOT_CLONED)

    def set_up(self, *, fails=False, mode="run", **env):
        """Runs the script; the lines that it printed."""
        return run(["sh", "tools/setup.sh", mode], cwd=self.path, fails=fails, **env)


class Venv:
    def __init__(self, path, pip=None):
        subprocess.run([sys.executable, "-m", "venv", path], check=True)
        self.bin = path / "bin"
        if pip:
            self.pip("install", "--upgrade", pip)

    def pip(self, *arguments):
        return self.run("python", "-m", "pip", "--quiet", *arguments)

    def run(self, program, *arguments, cwd="/"):
        return run([self.bin / program, *arguments], cwd=cwd)


def run(command, *, cwd, fails=False, **env):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ASH_")}
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**kept, "PYTHON": sys.executable, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert fails == bool(done.returncode), done.stdout
    return done.stdout.splitlines()


@pytest.fixture(scope="package")
def clone(tmp_path_factory):
    return Clone(tmp_path_factory.mktemp("clone") / "ash")
