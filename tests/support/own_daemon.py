"""A daemon in a process of its own, with limits of its own, and the calls that a test makes."""

import os
import re
import subprocess
from contextlib import contextmanager
from pathlib import Path

import httpx

from ash.cli import process
from ash.testing import StubModel


class Daemon:
    def __init__(self, url, key, pid):
        self.url, self.key, self.pid = url, key, pid
        self.address = ("127.0.0.1", int(url.rpartition(":")[2]))

    def ask(self, method, path, body=None):
        headers = {"Authorization": f"Bearer {self.key}"}
        url = self.url + path
        return httpx.request(method, url, json=body, headers=headers, timeout=60, trust_env=False)

    def call(self, method, path, body=None):
        answer = self.ask(method, path, body)
        assert answer.is_success, answer.text
        return answer

    def session(self):
        return self.call("POST", "/api/sessions", {"agent": "a"}).json()["session"]["id"]

    def execute(self, session, command):
        answer = self.call("POST", f"/api/sessions/{session}/exec", {"command": command}).json()
        return answer["stdout"] + answer["stderr"]

    def opened(self):
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))


@contextmanager
def running(folder, *flags, open_files=20_000, prefix=()):
    data = folder / "data"
    with StubModel.in_thread() as model:
        environment = {
            "PATH": os.environ["PATH"],
            "ANTHROPIC_BASE_URL": model.url,
            "ANTHROPIC_API_KEY": "sk-ant-of-the-test",
        }
        arguments = ["--port=0", f"--data-dir={data}", "--engine=scripted", *flags]
        limited = ["prlimit", f"--nofile={open_files}", "--"]
        command = [*limited, *prefix, *process.command(arguments)]
        daemon = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)
        try:
            url = re.search(rb"http://\S+", daemon.stdout.readline())[0].decode()
            found = Daemon(url, (data / "initial-api-key").read_text().strip(), daemon.pid)
            found.call("POST", "/api/agents", {"name": "a", "systemPrompt": "x"})
            yield found
        finally:
            daemon.terminate()
            daemon.communicate(timeout=30)
