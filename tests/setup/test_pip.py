"""The locks with pip, the oldest that we support beside the newest."""

import pytest

from tests.setup.conftest import CHECKOUT, OLDEST_PIP, Venv

pytestmark = pytest.mark.setup


@pytest.mark.parametrize("pip", [OLDEST_PIP, "pip"], ids=["oldest", "newest"])
def test_lock_is_complete(pip, tmp_path):
    """pip finds each package that it would install in the lock, with its hash."""
    lock = CHECKOUT / "requirements-dev.lock"
    Venv(tmp_path / "venv", pip).pip("install", "--dry-run", "--require-hashes", "-r", lock)


def test_locks_agree():
    """What runs is the same with the packages for tests and without."""
    runs, all_of_it = (_pins(name) for name in ("requirements.lock", "requirements-dev.lock"))
    assert set() == runs - all_of_it


def _pins(name):
    lines = (CHECKOUT / name).read_text().splitlines()
    return {line for line in lines if not line.strip().startswith("#")}
