"""A real daemon with two sessions: one that holds a secret, and one that tries to get at it."""

import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import pytest
from msgspec import Struct

from ash.cli import process
from ash.testing import StubModel
from tests.support.users import NOBODY, as_user

# Who the daemon is run by.
OWN = os.geteuid()
OTHER = NOBODY if OWN == 0 else OWN

# The victim's shared memory.
KEY = 4711

# What the victim leaves wherever it can, with a process that keeps it so.
VICTIM = f"""
for place in /workspace /tmp /dev/shm ~; do echo "$SECRET" > $place/secret.txt; done
{sys.executable} -c '
import ctypes
memory = ctypes.CDLL(None)
memory.shmget({KEY}, 4096, 0o1666) >= 0 or exit(1)
' && (setsid sleep 1000 </dev/null >/dev/null 2>&1 & echo started)
"""


class Host(Struct):
    """A daemon that runs. `secrets` are texts that must not be seen anywhere in a sandbox."""

    url: str
    key: str
    data: Path
    pid: int
    secrets: list[str]
    model_port: int

    def post(self, path: str, body: dict) -> dict:
        answer = self.request("POST", path, body)
        assert answer.is_success, answer.text
        return answer.json()

    def session(self, agent: str, **settings: object) -> "Session":
        made = self.post("/api/sessions", {"agent": agent, **settings})["session"]
        return Session(self, made["id"], self.data / "sandboxes" / made["sandboxId"])

    def request(
        self, method: str, path: str, body: object, *, patience: float = 120
    ) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.key}"}
        return httpx.request(method, self.url + path, json=body, headers=headers, timeout=patience)


class Session(Struct):
    """`folder` is where the host has its files."""

    host: Host
    id: str
    folder: Path

    def path(self, what: str) -> str:
        return f"/api/sessions/{self.id}/{what}"

    def say(self, text: str) -> str:
        """All frames of the turn, as text."""
        return self.host.request("POST", self.path("messages"), {"content": text}).text

    def execute(self, command: str) -> dict:
        return self.host.post(self.path("exec"), {"command": command})

    def make(self, attempts: list, facts: dict) -> dict[str, str]:
        """Has the agent make the attempts by its Bash tool; their outcomes by name."""
        order = {"facts": facts, "attempts": {one.name: one.code for one in attempts}}
        workspace = self.folder / "workspace"
        (workspace / "order.json").write_text(json.dumps(order))
        ran = self.say(f"BASH: {sys.executable} -P inside.py order.json outcomes.json 2>&1")
        assert f"{len(attempts)} attempts made" in ran, ran
        return json.loads((workspace / "outcomes.json").read_text())


@contextmanager
def running(engine: str, uid: int, model: StubModel) -> Iterator[Host]:
    canary = secrets.token_hex(16)
    with TemporaryDirectory(prefix="ash-escape-") as folder:
        agent = Path(folder, "agent")
        agent.mkdir()
        (agent / "CLAUDE.md").write_text("You try to get out.")
        shutil.copy(Path(__file__).with_name("inside.py"), agent)
        Path(folder, "host.txt").write_text(canary)
        data = Path(folder, "data")
        data.mkdir(mode=0o700)
        for path in (Path(folder), data):
            os.chown(path, uid, -1)
        environment = {
            "PATH": os.environ["PATH"],
            "ANTHROPIC_BASE_URL": model.url,
            "ANTHROPIC_API_KEY": f"sk-ant-{canary}",
            "ASH_TEST_CANARY": canary,
        }
        arguments = ["--port=0", f"--data-dir={data}", f"--engine={engine}", "--isolation=strict"]
        daemon = subprocess.Popen(
            [*as_user(uid), *process.command(arguments)], env=environment, stdout=subprocess.PIPE
        )
        try:
            url = re.search(rb"http://\S+", daemon.stdout.readline())[0].decode()
            key = (data / "initial-api-key").read_text().strip()
            host = Host(url, key, data, daemon.pid, [canary, key], port_of(model.url))
            host.post("/api/agents", {"name": "attacker", "path": str(agent)})
            yield host
        finally:
            daemon.terminate()
            daemon.communicate(timeout=30)


GROUNDS = [
    pytest.param(("scripted", OWN), id="scripted"),
    pytest.param(("scripted", OTHER), id="scripted-not-root"),
    pytest.param(("claude-agent", OWN), id="claude-agent", marks=pytest.mark.cli),
]


@pytest.fixture(scope="module", params=GROUNDS)
def host(request) -> Iterator[Host]:
    engine, uid = request.param
    with StubModel.in_thread() as model, running(engine, uid, model) as on:
        yield on


@pytest.fixture(scope="module")
def victim(host) -> Session:
    """A session with a secret in its files, memory, environment and arguments."""
    secret = secrets.token_hex(16)
    host.secrets.append(secret)
    session = host.session("attacker", extraEnv={"SECRET": secret})
    assert "started" in session.execute(VICTIM)["stdout"]
    return session


@pytest.fixture(scope="module")
def services(host) -> Iterator[dict]:
    """What listens on the host, beside the daemon."""
    path = str(host.data.parent / "host.sock")
    abstract = f"\0ash-{secrets.token_hex(4)}"
    with socket.socket(socket.AF_UNIX) as plain, socket.socket(socket.AF_UNIX) as nameless:
        plain.bind(path)
        nameless.bind(abstract)
        for listener in (plain, nameless):
            listener.listen()
        yield {"unix": path, "abstract": abstract}


@pytest.fixture(scope="module")
def facts(host, victim, services) -> dict:
    """What an attacker may know or guess of the host."""
    return {
        **services,
        "host": own_address(),
        "model_port": host.model_port,
        "data": str(host.data),
        "tmp_file": str(host.data.parent / "host.txt"),
        "daemon_pid": host.pid,
        "daemon_port": port_of(host.url),
        "victim_pid": max(processes_of(host.secrets[-1])),
        "victim_workspace": str(victim.folder / "workspace"),
        "victim_key": KEY,
        "secrets": ["ASH_TEST_CANARY", "SECRET=", "initial-api-key"],
    }


@pytest.fixture(scope="module")
def attacker(host, victim) -> Session:
    return host.session("attacker")


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2])


def own_address() -> str:
    """The host's on its network, if it has one; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        return sock.getsockname()[0]


def processes_of(secret: str) -> list[int]:
    """Those on the host that have the secret in their environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if secret.encode() in (folder / "environ").read_bytes():
                found.append(int(folder.name))
    return found
