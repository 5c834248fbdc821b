"""`tools/setup.sh`, which the Makefile runs before all else."""

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
    """A clone that is set up."""
    clone.set_up()
    return clone


def test_first_run(tmp_path):
    """A line a step, and then ash runs."""
    clone = Clone(tmp_path / "ash")
    assert [MAKES, INSTALLS, INSTALLS_ASH] == clone.set_up()
    said = run([clone.path / ".venv/bin/ashd", "--version"], cwd="/")
    assert [f"ash, version {__version__}"] == said
    assert not list((clone.path / ".venv").glob("lib/*/site-packages/pytest"))


def test_second_run(fresh):
    """Nothing is done, and nothing said."""
    assert [] == fresh.set_up()


def test_interrupted_run(fresh):
    """What was left half done is begun anew."""
    (fresh.path / ".venv/.ash-busy").touch()
    assert [MAKES, INSTALLS, INSTALLS_ASH] == fresh.set_up()


@pytest.mark.parametrize(
    ("file", "steps"), [("requirements.lock", [INSTALLS]), ("pyproject.toml", [INSTALLS_ASH])]
)
def test_changed_file(fresh, file, steps):
    """What hangs on it is installed again, once."""
    with (fresh.path / file).open("a") as end:
        end.write("# another\n")
    assert steps == fresh.set_up()
    assert [] == fresh.set_up()


def test_moved_checkout(fresh, tmp_path):
    """The programs in a .venv name its folder, so it is made anew."""
    moved = Clone(tmp_path / "moved")
    shutil.copytree(fresh.path / ".venv", moved.path / ".venv", symlinks=True)
    assert MAKES == moved.set_up()[0]


def test_without_uv(tmp_path):
    """Where no uv can be had pip does it."""
    clone = Clone(tmp_path / "ash")
    (clone.path / "requirements-uv.lock").write_text("uv==0.0.0 --hash=sha256:" + "0" * 64)
    assert [MAKES, INSTALLS, INSTALLS_ASH] == clone.set_up(PATH="/usr/bin:/bin")


def test_python_that_is_none(clone):
    """One line says what to do."""
    said = clone.set_up(fails=True, PYTHON="/nowhere/python3")
    assert 1 == len(said)
    assert "ash needs Python 3.11 or newer: make … PYTHON=/path/to/python3.11" in said[0]


def test_no_network(tmp_path):
    """One line says what to do, and what there was is kept."""
    clone = Clone(tmp_path / "ash")
    nobody = "http://127.0.0.1:9"
    indices = {"PIP_INDEX_URL": nobody, "UV_DEFAULT_INDEX": nobody, "PIP_RETRIES": "1"}
    said = clone.set_up(fails=True, **indices)
    assert [MAKES, INSTALLS] == said[:2]
    assert "the package index can't be reached" in said[-1]
    assert not (clone.path / ".venv/.ash-busy").exists()


def test_package_that_is_not_what_was_pinned(tmp_path):
    """The end of the log comes before what to do."""
    clone = Clone(tmp_path / "ash")
    lock = clone.path / "requirements.lock"
    lock.write_text("h11==0.16.0 --hash=sha256:" + "0" * 64)
    said = clone.set_up(fails=True)
    assert "THESE PACKAGES DO NOT MATCH THE HASHES" in " ".join(said)
    assert said[-1].startswith("Set-up failed: the packages of requirements.lock can't be")
