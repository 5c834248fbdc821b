"""Proxies as people put them in front of ashd, with the recipes of docs/proxies.md."""

import os
import re
import shutil
import signal
import socket
from collections.abc import Callable
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import DEVNULL
from tempfile import mkdtemp
from typing import NamedTuple

import trio

from tests.support.waiting import until

_PAGE = Path(__file__).parents[2] / "docs/proxies.md"
_NOBODY = 65534
# How often another port is tried, if somebody has taken it since the system gave it to us.
_ATTEMPTS = 3


class Proxy(NamedTuple):
    """How a proxy is run in a folder, in the foreground; `around` makes a whole of its recipe."""

    program: str
    command: Callable[[Path, int], list[str]]
    around: Callable[[Path, str], str] = lambda _, recipe: recipe
    reuses: bool = True


def _nginx(folder: Path, recipe: str) -> str:
    paths = "\n".join(
        f"{kind}_temp_path {folder}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return (
        f"daemon off; pid {folder}/pid; error_log /dev/null;\n"
        f"events {{}}\nhttp {{ access_log off;\n{paths}\n{recipe}}}"
    )


def _caddy(folder: Path, recipe: str) -> str:
    return f"{{\nadmin off\nauto_https off\n}}\n{recipe}"


def _apache(folder: Path, recipe: str) -> str:
    modules = ("mpm_event", "authz_core", "proxy", "proxy_http")
    loaded = "\n".join(
        f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so" for name in modules
    )
    return (
        f"ServerRoot {folder}\nServerName ash\nPidFile pid\nErrorLog /dev/null\n"
        f"Mutex file:{folder}\n{loaded}\n{recipe}"
    )


def _lighttpd(folder: Path, recipe: str) -> str:
    return f'server.document-root = "{folder}"\nserver.upload-dirs = ("{folder}")\n{recipe}'


PROXIES = {
    "nginx": Proxy("nginx", lambda f, _: ["-p", str(f), "-c", f"{f}/recipe"], _nginx),
    "haproxy": Proxy("haproxy", lambda f, _: ["-db", "-f", f"{f}/recipe"]),
    "caddy": Proxy(
        "caddy", lambda f, _: ["run", "--adapter", "caddyfile", "--config", f"{f}/recipe"], _caddy
    ),
    "varnish": Proxy(
        "varnishd",
        lambda f, port: [
            *("-F", "-n", f"{f}/varnish", "-f", f"{f}/recipe", "-a", f"127.0.0.1:{port}"),
            *("-s", "default,1m", "-j", "none"),
        ],
    ),
    "apache": Proxy("apache2", lambda f, _: ["-D", "FOREGROUND", "-f", f"{f}/recipe"], _apache),
    "lighttpd": Proxy(
        "lighttpd", lambda f, _: ["-D", "-f", f"{f}/recipe"], _lighttpd, reuses=False
    ),
}


def recipe(name: str) -> str:
    """What the page says about the proxy."""
    section = _PAGE.read_text(encoding="utf-8").split(f"\n## {name}\n")[1]
    found = re.search(r"```\w+\n(.*?)```", section, re.DOTALL)
    assert found, f"docs/proxies.md has no recipe for {name}"
    return found[1]


@asynccontextmanager
async def in_front(name: str, port: int):
    """Runs the proxy in front of a port, as a user without rights; gives its own URL."""
    proxy = PROXIES[name]
    folder = _folder_for_all(name)
    try:
        async with trio.open_nursery() as nursery:
            yield await _start(proxy, recipe(name), port, folder, nursery)
            nursery.cancel_scope.cancel()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _start(proxy: Proxy, recipe: str, port: int, folder: Path, nursery: trio.Nursery) -> str:
    for _ in range(_ATTEMPTS):
        own = _free_port()
        text = recipe.replace("4100", str(port)).replace("8080", str(own))
        (folder / "recipe").write_text(proxy.around(folder, text), encoding="utf-8")
        process = await nursery.start(_run, proxy, folder, own)
        if await _listens(process, own):
            return f"http://127.0.0.1:{own}"
    raise AssertionError(f"{proxy.program} does not start with its recipe")


async def _run(proxy: Proxy, folder: Path, port: int, task_status: trio.TaskStatus) -> None:
    program = shutil.which(proxy.program, path=f"{os.environ['PATH']}:/usr/sbin")
    assert program, f"this test needs {proxy.program}: make setup-test installs it"
    user = {"user": _NOBODY, "group": _NOBODY, "extra_groups": ()} if os.geteuid() == 0 else {}
    await trio.run_process(
        [program, *proxy.command(folder, port)],
        cwd=folder,
        env={"PATH": "/usr/sbin:/usr/bin:/bin", "HOME": str(folder)},
        stdin=DEVNULL,
        stdout=DEVNULL,
        stderr=DEVNULL,
        check=False,
        start_new_session=True,
        deliver_cancel=_kill_family,
        task_status=task_status,
        **user,
    )


async def _listens(process: trio.Process, port: int) -> bool:
    """Whether it does; False if it has ended instead."""
    listens = False

    async def it_is_decided() -> bool:
        nonlocal listens
        try:
            await (await trio.open_tcp_stream("127.0.0.1", port)).aclose()
            listens = process.poll() is None
        except OSError:
            return process.poll() is not None
        return True

    await until(it_is_decided)
    return listens


async def _kill_family(process: trio.Process) -> None:
    os.killpg(process.pid, signal.SIGKILL)


def _folder_for_all(name: str) -> Path:
    folder = Path(mkdtemp(prefix=f"ash-{name}-"))
    folder.chmod(0o777)
    return folder


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port
