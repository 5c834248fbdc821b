"""docs/client.md is true: its examples run, and it names every method."""

import re
import sys
from pathlib import Path

import pytest
import trio

from ash.client.api import Api
from ash.client.reconnecting import ATTEMPTS, SILENCE
from tests.support.daemon import KEY

PAGE = (Path(__file__).parents[2] / "docs" / "client.md").read_text(encoding="utf-8")
SYNC, SHOWN, ON_TRIO, ERRORS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
ON_ASYNCIO = ON_TRIO.replace("trio  # or ", "").replace("trio.run(main)", "asyncio.run(main())")


@pytest.mark.parametrize(
    ("example", "expected"),
    [
        (SYNC, "echo: Hello!"),
        (SHOWN, "echo: \necho: Hello!\n"),
        (ON_TRIO, " session_start\n"),
        (
            ON_TRIO.replace("trio  # or asyncio", "asyncio").replace(
                "trio.run(main)", "asyncio.run(main())"
            ),
            " done\n",
        ),
        (ERRORS, '404 There is no agent "nobody"'),
    ],
    ids=["sync", "shown", "trio", "asyncio", "errors"],
)
async def test_example(daemon, us, example, expected):
    """It runs as it stands, and prints what it says."""
    await us.deploy()
    run = await trio.run_process(
        [sys.executable, "-W", "error", "-c", example],
        env={"ASH_SERVER_URL": daemon.url, "ASH_API_KEY": KEY},
        capture_stdout=True,
        capture_stderr=True,
        check=False,
    )

    assert (0, "") == (run.returncode, run.stderr.decode())
    assert expected in run.stdout.decode()


def test_methods():
    """Every method has its place on the page."""
    names = {name for name in vars(Api) if not name.startswith("_")}

    assert names <= set(re.findall(r"`(\w+)`", PAGE))


def test_numbers():
    """Attempts and silence are what the page says."""
    assert f"It tries {ATTEMPTS} times" in PAGE
    assert f"silent for {SILENCE:.0f} seconds" in PAGE
