"""A foreign module `bridge` does not disturb ash, and ash does not disturb it."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import ash

_SCRIPT = """\
import sys, trio
import bridge
from ash import Ash
from ash.testing import StubModel

async def main():
    settings = dict(engine="scripted", pre_warm_count=0, isolation=sys.argv[2])
    async with Ash(data_dir=sys.argv[1], **settings) as ash:
        await ash.deploy_agent("helper", system_prompt="be kind")
        session = await ash.create_session("helper")
        async with ash.send_message(session.id, "hello") as events:
            answer = [e.json()["result"] async for e in events if e.event == "turn_complete"]
    print(*answer, bridge.WHOSE)

trio.run(main)
"""


@pytest.fixture(params=["none", "best-effort"])
def run(request, tmp_path):
    """Runs the script in a folder of its own; its output."""
    folder = tmp_path / "scripts"
    folder.mkdir()
    script = folder / "script.py"
    script.write_text(_SCRIPT)

    def go(**env):
        done = subprocess.run(
            [sys.executable, str(script), str(tmp_path / "data"), request.param],
            cwd=folder,
            env={"PATH": os.environ["PATH"], **env},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout or done.stderr

    return go


def test_bridge_beside_a_script(run, tmp_path):
    """The script imports its own bridge, the sandbox starts ours."""
    (tmp_path / "scripts" / "bridge.py").write_text("WHOSE = 'the script has its own'")
    assert "echo: hello the script has its own\n" == run()


def test_bridge_of_another_distribution(run, tmp_path):
    """The same holds for an installed package that comes before ours in sys.path."""
    other = tmp_path / "installed" / "bridge"
    other.mkdir(parents=True)
    (other / "__init__.py").write_text("WHOSE = 'somebody has another'")
    (other / "__main__.py").write_text("raise SystemExit('the wrong one was started')")
    assert "echo: hello somebody has another\n" == run(PYTHONPATH=str(other.parent))


def test_package_imports_no_bridge():
    """An import of bridge could find a foreign one."""
    package = Path(ash.__file__).parent
    assert [] == [file for file in package.rglob("*.py") if "bridge" in _imported(file)]


def _imported(file):
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").partition(".")[0]
