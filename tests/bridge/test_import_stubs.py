"""Stubs replace libraries that the SDKs import and the bridge never uses."""

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
    """Neither SDK loads the stubbed libraries."""
    done = _run(_CODE)
    loaded = set(done.stdout.split())
    assert {"claude_agent_sdk", "claude_code_sdk", "anyio"} <= loaded, done.stderr
    assert set() == loaded & {"pydantic", "pydantic_core", "starlette", "referencing"}


@pytest.mark.parametrize("use", ["mcp.types.Tool(name='x')", "mcp.server.Server('x')"])
def test_use_of_one_is_an_error_that_names_it(use) -> None:
    """An SDK that does use a stub gets an error that names it."""
    said = _run(f"{_CODE}\nimport mcp.types, mcp.server; {use}").stderr
    assert "is left out of the bridge" in said


def test_other_packages_are_imported_as_usual() -> None:
    """Only the named packages are stubbed."""
    done = _run(f"{_CODE}\nimport mcpx")
    assert "No module named 'mcpx'" in done.stderr
