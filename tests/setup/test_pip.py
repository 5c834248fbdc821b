"""The locks with the oldest pip that we support, and with the newest."""

import pytest

from tests.setup.conftest import CHECKOUT, OLDEST_PIP, Venv

pytestmark = pytest.mark.setup


@pytest.mark.parametrize("pip", [OLDEST_PIP, "pip"], ids=["oldest", "newest"])
def test_lock_is_complete(pip, tmp_path):
    """The lock contains each package that pip would install, with its hash."""
    lock = CHECKOUT / "requirements-dev.lock"
    Venv(tmp_path / "venv", pip).pip("install", "--dry-run", "--require-hashes", "-r", lock)


def test_locks_agree():
    """All pins of requirements.lock are in requirements-dev.lock too."""
    runs, all_of_it = (_pins(name) for name in ("requirements.lock", "requirements-dev.lock"))
    assert set() == runs - all_of_it


def _pins(name):
    lines = (CHECKOUT / name).read_text().splitlines()
    return {line for line in lines if not line.strip().startswith("#")}
