"""ash outside of a checkout, as pip, pipx and uv install it from one."""

import pytest

from ash import __version__
from tests.setup.conftest import OLDEST_PIP, Clone, Venv

pytestmark = pytest.mark.setup

_FIND = "import importlib.util as u; print(u.find_spec('bridge'), u.find_spec('tests'))"


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Installed by the oldest pip; what it was installed from is gone."""
    folder = tmp_path_factory.mktemp("wheel")
    venv = Venv(folder / "venv", OLDEST_PIP)
    clone = Clone(folder / "clone")
    venv.pip("install", "--require-hashes", "-r", clone.path / "requirements.lock")
    venv.pip("install", "--no-deps", "--no-build-isolation", clone.path)
    clone.path.rename(folder / "elsewhere")
    return venv


def test_commands(installed):
    """Both are there, and know themselves."""
    assert [f"ash, version {__version__}"] == installed.run("ashd", "--version")
    assert "Usage: ash [OPTIONS] COMMAND [ARGS]..." == installed.run("ash", "--help")[0]


def test_demo(installed, tmp_path):
    """The main job works from any folder."""
    assert "All of it worked." == installed.run("ash", "demo", cwd=tmp_path)[-1]


def test_names(installed):
    """`ash` is the only name that is taken."""
    assert ["None None"] == installed.run("python", "-c", _FIND)


def test_distribution(installed):
    """Its name is not that of somebody else's."""
    assert "Name: ashd" in installed.run("python", "-m", "pip", "show", "ashd")
