"""What `import ash` brings, and what it does not."""

import subprocess
import sys

import pytest

import ash
from ash import client


def loaded(code):
    """The modules of ours that the code imports."""
    program = f"import sys\n{code}\nprint(*(m for m in sys.modules if m.startswith('ash')))"
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return set(run.stdout.split())


def test_import_alone():
    """A sandbox that imports `ash` pays for nothing."""
    assert {"ash"} == loaded("import ash")


def test_import_of_the_client():
    """A script for a server elsewhere gets none of the server's parts."""
    found = loaded("from ash import AshClient\nAshClient('https://ash.example', 'key')")

    assert "ash.client" in found
    rest = {name for name in found if name.count(".") == 1} - {"ash.client"}
    expected = {"addresses", "errors", "file_names", "model", "session_options", "shapes"}
    assert {f"ash.{name}" for name in expected} == rest


@pytest.mark.parametrize("name", ash.__all__)
def test_name(name):
    """What is promised is there."""
    assert getattr(ash, name).__name__ == name


def test_name_that_is_not_there():
    """Another name is an error as in any module."""
    with pytest.raises(AttributeError, match="'ash' has no attribute 'AshClinet'"):
        ash.AshClinet  # noqa: B018 - asking is what fails


def test_client_is_the_same():
    """There is one of each."""
    assert client.AshClient is ash.AshClient
