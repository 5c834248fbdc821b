"""Libraries that the SDKs import and a bridge never uses."""

import subprocess
import sys

import pytest

_CODE = """
import sys
from bridge.import_stubs import leave_out
leave_out("mcp", "jsonschema")
import bridge.claude_agent, bridge.claude_code
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


def _run(code: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_engines_are_imported_without_them() -> None:
    """What takes most of a bridge's start and memory is not loaded by either SDK."""
    done = _run(_CODE)
    loaded = set(done.stdout.split())
    assert {"claude_agent_sdk", "claude_code_sdk", "anyio"} <= loaded, done.stderr
    assert set() == loaded & {"pydantic", "pydantic_core", "starlette", "referencing"}


@pytest.mark.parametrize("use", ["mcp.types.Tool(name='x')", "mcp.server.Server('x')"])
def test_use_of_one_is_an_error_that_names_it(use) -> None:
    """An SDK that comes to need them is found out, and does not just do nothing."""
    said = _run(f"{_CODE}\nimport mcp.types, mcp.server; {use}").stderr
    assert "is left out of the bridge" in said


def test_others_are_imported_as_ever() -> None:
    """Only the named packages are empty."""
    done = _run(f"{_CODE}\nimport mcpx")
    assert "No module named 'mcpx'" in done.stderr
