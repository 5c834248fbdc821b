"""ash installed as a wheel, without a checkout."""

import pytest

from ash import __version__
from tests.setup.conftest import OLDEST_PIP, Clone, Venv

pytestmark = pytest.mark.setup

_FIND = "import importlib.util as u; print(u.find_spec('bridge'), u.find_spec('tests'))"


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """ash installed from a checkout by the oldest pip; the checkout is moved away."""
    folder = tmp_path_factory.mktemp("wheel")
    venv = Venv(folder / "venv", OLDEST_PIP)
    clone = Clone(folder / "clone")
    venv.pip("install", "--require-hashes", "-r", clone.path / "requirements.lock")
    venv.pip("install", "--no-deps", "--no-build-isolation", clone.path)
    clone.path.rename(folder / "elsewhere")
    return venv


def test_commands(installed):
    """`ash` and `ashd` start."""
    assert [f"ash, version {__version__}"] == installed.run("ashd", "--version")
    assert "Usage: ash [OPTIONS] COMMAND [ARGS]..." == installed.run("ash", "--help")[0]


def test_demo(installed, tmp_path):
    """`ash demo` works in any folder."""
    assert "All of it worked." == installed.run("ash", "demo", cwd=tmp_path)[-1]


def test_names(installed):
    """`ash` is the only top-level module that is installed."""
    assert ["None None"] == installed.run("python", "-c", _FIND)


def test_distribution(installed):
    """The distribution is called ashd."""
    assert "Name: ashd" in installed.run("python", "-m", "pip", "show", "ashd")
