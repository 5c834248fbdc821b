"""`tools/setup.sh`, which the targets of the Makefile run first."""

import platform
import shutil

import pytest

from ash import __version__
from tests.setup.conftest import Clone, run

pytestmark = pytest.mark.setup

MAKES = f"Making .venv with Python {platform.python_version()} …"
INSTALLS, INSTALLS_ALL = "Installing what ash needs …", "Installing what ash and its tests need …"
INSTALLS_ASH = "Installing ash …"


@pytest.fixture
def fresh(clone):
    """A clone that has been set up."""
    clone.set_up()
    return clone


def test_first_run(tmp_path):
    """It prints one line for each step, then ash runs; no test tools are installed."""
    clone = Clone(tmp_path / "ash")
    assert [MAKES, INSTALLS, INSTALLS_ASH] == clone.set_up()
    said = run([clone.path / ".venv/bin/ashd", "--version"], cwd="/")
    assert [f"ash, version {__version__}"] == said
    assert not list((clone.path / ".venv").glob("lib/*/site-packages/pytest"))


def test_second_run(fresh):
    """It has nothing to do and prints nothing."""
    assert [] == fresh.set_up()


def test_interrupted_run(fresh):
    """The next run makes .venv anew."""
    (fresh.path / ".venv/.ash-busy").touch()
    assert [MAKES, INSTALLS, INSTALLS_ASH] == fresh.set_up()


@pytest.mark.parametrize(
    ("file", "steps"), [("requirements.lock", [INSTALLS]), ("pyproject.toml", [INSTALLS_ASH])]
)
def test_changed_file(fresh, file, steps):
    """The next run installs what the file describes again, and the one after that does nothing."""
    with (fresh.path / file).open("a") as end:
        end.write("# another\n")
    assert steps == fresh.set_up()
    assert [] == fresh.set_up()


def test_moved_checkout(fresh, tmp_path):
    """The scripts in .venv contain its path, so it is made anew."""
    moved = Clone(tmp_path / "moved")
    shutil.copytree(fresh.path / ".venv", moved.path / ".venv", symlinks=True)
    assert MAKES == moved.set_up()[0]


def test_without_uv(tmp_path):
    """pip installs everything if uv can't be installed."""
    clone = Clone(tmp_path / "ash")
    (clone.path / "requirements-uv.lock").write_text("uv==0.0.0 --hash=sha256:" + "0" * 64)
    assert [MAKES, INSTALLS, INSTALLS_ASH] == clone.set_up(PATH="/usr/bin:/bin")


def test_missing_python(clone):
    """One line says how to name another Python."""
    said = clone.set_up(fails=True, PYTHON="/nowhere/python3")
    assert 1 == len(said)
    assert "ash needs Python 3.11 or newer: make … PYTHON=/path/to/python3.11" in said[0]


def test_no_network(tmp_path):
    """One line says what to check, and the .venv is kept."""
    clone = Clone(tmp_path / "ash")
    nobody = "http://127.0.0.1:9"
    indices = {"PIP_INDEX_URL": nobody, "UV_DEFAULT_INDEX": nobody, "PIP_RETRIES": "1"}
    said = clone.set_up(fails=True, **indices)
    assert [MAKES, INSTALLS] == said[:2]
    assert "the package index can't be reached" in said[-1]
    assert not (clone.path / ".venv/.ash-busy").exists()


def test_wrong_hash(tmp_path):
    """The end of the log is shown, then what to do."""
    clone = Clone(tmp_path / "ash")
    lock = clone.path / "requirements.lock"
    lock.write_text("h11==0.16.0 --hash=sha256:" + "0" * 64)
    said = clone.set_up(fails=True)
    assert "THESE PACKAGES DO NOT MATCH THE HASHES" in " ".join(said)
    assert said[-1].startswith("Set-up failed: the packages of requirements.lock can't be")
