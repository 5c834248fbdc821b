"""A real browser without a window, for what no other client does as browsers do."""

import os
import shutil
import signal
from contextlib import asynccontextmanager
from functools import partial
from subprocess import DEVNULL

import trio

FLAGS = (
    "--headless",
    # A test may run as root; the page is the test's own.
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--no-proxy-server",
    "--remote-debugging-port=0",
    # It asks for addresses of its maker's, whatever it is told: there are none.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)


@asynccontextmanager
async def browsing(url, folder):
    """A browser that has the page open; what it keeps goes into the folder."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    assert program, "this test needs a browser: apt-get install chromium"
    command = [program, *FLAGS, f"--user-data-dir={folder}", url]
    async with trio.open_nursery() as nursery:
        start = partial(
            trio.run_process,
            command,
            env={**os.environ, "HOME": str(folder)},
            stdin=DEVNULL,
            stdout=DEVNULL,
            stderr=DEVNULL,
            check=False,
            start_new_session=True,
            deliver_cancel=_kill_family,
        )
        await nursery.start(start)
        yield
        nursery.cancel_scope.cancel()


async def _kill_family(process):
    os.killpg(process.pid, signal.SIGKILL)
