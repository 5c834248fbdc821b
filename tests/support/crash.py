"""Kills parts of a daemon that works, and looks at what is left.

The daemon is a process of its own; its clients remember what they were shown. After each kill,
what they saw has to be in the store, what they were promised has to hold, and all of it has to
go on.
"""

import json
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing, suppress
from pathlib import Path

import h11
import httpx
import trio

from ash import events
from tests.support.daemon import KEY, Client
from tests.support.processes import alive, descendants, until

CUT_OFF = (h11.RemoteProtocolError, httpx.TransportError, OSError, AssertionError)
STARTED = ("starting", "active")


class WentBackError(Exception):
    """A frame has an id that is not above the last one's."""


class Memory:
    """What the clients of one session know of it."""

    def __init__(self, session):
        self.session = session
        self.asked = []
        self.accepted = []
        self.completed = []
        self.frames = []
        self.number = 0

    def next_prompt(self, choose):
        """A prompt as no other; those that leave a line in the workspace say so."""
        self.number += 1
        mark = f"{self.number}"
        kinds = (
            f"hello {mark}",
            f"BASH: echo {mark} >> log.txt && echo wrote-{mark}; sleep 0.1 # {mark}",
            f"WRITE: file-{mark}.txt {mark}",
            "SLOW: 20 0.4",
            "BIG: 40",
        )
        return choose.choice(kinds)

    def wrote(self):
        """The marks of the lines of which a tool said that it has written them."""
        said = b"".join(frame.data for frame in self.frames if frame.event == "tool_result")
        return re.findall(r"wrote-(\d+)", said.decode())


class Ashd:
    """The daemon; `start` starts it again on what it left.

    `before` comes before its command; what it logs goes to `log`, if that is a file.
    """

    def __init__(self, data_dir, *options, before=(), log=None):
        self._before = before
        self._log = log
        self._options = ["--data-dir", str(data_dir), "--pre-warm-count", "0", *options]
        self.process = None
        self.url = ""

    async def start(self):
        await trio.to_thread.run_sync(self._start)

    def _start(self):
        self.spawn()
        line = self.process.stdout.readline()
        assert line, "the daemon did not start"
        self.url = line.split()[2]

    def spawn(self):
        """Does not wait until it serves."""
        command = [*self._before, sys.executable, "-m", "ash.cli.ashd", "--port", "0"]
        env = {
            **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
            "ASH_API_KEY": KEY,
            "PYTHONPATH": str(Path.cwd()),
        }
        with Path(self._log or os.devnull).open("ab") as log:
            self.process = subprocess.Popen(
                [*command, *self._options], stdout=subprocess.PIPE, stderr=log, env=env, text=True
            )

    async def kill(self):
        """With SIGKILL; returns when all that it had started is gone."""
        family = descendants(self.process.pid)
        self.process.kill()
        await trio.to_thread.run_sync(self.process.wait)
        self.process.stdout.close()
        await until(lambda: not any(map(alive, family)))

    async def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        await trio.to_thread.run_sync(self.process.wait)
        self.process.stdout.close()


class Crash:
    """A run of kills. `counts` says how often what was hit, `turns` how they ended."""

    def __init__(self, data_dir, seed, *, sessions=3, options=("--engine", "scripted")):
        self.choose = random.Random(seed)
        self.ashd = Ashd(data_dir, *options)
        self.counts = Counter()
        self.turns = {}
        self._database = data_dir / "ash.db"
        self._sessions = sessions
        self._memories = []
        self._stopping = False

    async def run(self, kills):
        await self.ashd.start()
        try:
            async with self._client() as us:
                await us.deploy("helper")
                for _ in range(self._sessions):
                    self._memories.append(Memory(await us.create()))
            for number in range(kills):
                await self._round(("daemon", "bridge", "engine")[number % 3])
        finally:
            with trio.CancelScope(shield=True):
                await self.ashd.stop()

    def _client(self):
        return Client(self.ashd.url, KEY)

    async def _round(self, victim):
        """Work, a kill in the midst of it, and all that has to hold then."""
        self._stopping = False
        async with trio.open_nursery() as nursery:
            for memory in self._memories:
                nursery.start_soon(self._work, memory)
            await trio.sleep(self.choose.uniform(0.05, 1.2))
            await self._kill(victim)
            self._stopping = True
        if victim == "daemon":
            await self.ashd.start()
        await self._settle()
        self._check_store()
        async with trio.open_nursery() as nursery:
            for memory in self._memories:
                nursery.start_soon(self._check_resume, memory)

    async def _kill(self, victim):
        self.counts[victim] += 1
        family = descendants(self.ashd.process.pid)
        is_bridge = {pid: b"\0bridge\0" in _command(pid) for pid in family}
        if victim == "daemon":
            await self.ashd.kill()
        else:
            wanted = [pid for pid in family if is_bridge[pid] == (victim == "bridge")]
            with suppress(ProcessLookupError):
                os.kill(self.choose.choice(wanted or family), signal.SIGKILL)

    async def _work(self, memory):
        """Sends one message after the other and remembers what is shown."""
        with suppress(*CUT_OFF):
            async with self._client() as us:
                while not self._stopping:
                    await self._turn(us, memory)

    async def _turn(self, us, memory):
        prompt = memory.next_prompt(self.choose)
        memory.asked.append(prompt)
        partial = self.choose.random() < 0.5
        options = "?resume=auto"
        async with us.sending(
            memory.session, prompt, options, includePartialMessages=partial
        ) as stream:
            async for frame in stream:
                if memory.frames and frame.id <= memory.frames[-1].id:
                    raise WentBackError(frame.id)
                memory.frames.append(frame)
                if frame.event == "session_start":
                    memory.accepted.append(prompt)
                if frame.event == "done" and frame.value["reason"] == "completed":
                    memory.completed.append(prompt)

    async def _settle(self):
        """Until what was killed is known to be dead, and no turn runs."""
        async with self._client() as us:
            await us.rests()
            live = (await us.get("/health")).json()["activeSandboxes"]
            statuses = [await us.status(memory.session) for memory in self._memories]
        claimed = sum(status in STARTED for status in statuses)
        assert claimed <= live, f"{claimed} sessions claim to run, {live} sandboxes live"

    def _check_store(self):
        with closing(sqlite3.connect(self._database)) as connection:
            for memory in self._memories:
                _check_history(connection, memory)
            self.turns = dict(
                connection.execute("SELECT reason, count(*) FROM turns GROUP BY reason")
            )

    async def _check_resume(self, memory):
        """It goes on: with its files as they were, and with all that was said."""
        async with self._client() as us:
            before = await _files(us, memory.session)
            resumed = await us.post(f"/api/sessions/{memory.session}/resume")
            assert resumed.status_code == 200, resumed.text
            assert before == await _files(us, memory.session)
            log = await us.get(f"/api/sessions/{memory.session}/files/log.txt")
            lines = log.text.splitlines() if log.status_code == 200 else []
            wrote = memory.wrote()
            assert set(wrote) <= set(lines), "a line that was written is gone"
            assert len(set(lines)) == len(lines), "a line was written twice"
            frames = await us.say(memory.session, "RECALL")
            assert frames[0].id > max((frame.id for frame in memory.frames), default=0)
            memory.frames += frames
            for known in (memory.asked, memory.accepted, memory.completed):
                known.append("RECALL")
            recalled = json.loads(_result(frames))
            assert _is_within(memory.completed, recalled), "the agent forgot a turn"
            assert _is_within(recalled, memory.asked), "the agent knows what nobody said"


def _check_history(connection, memory):
    """All that was shown is stored, in its order; all that has begun has ended."""
    messages = connection.execute(
        "SELECT frame, role, content FROM messages WHERE session_id = ? ORDER BY sequence",
        (memory.session,),
    ).fetchall()
    turns = connection.execute(
        "SELECT reason, error, error_frame, end_frame FROM turns WHERE session_id = ?",
        (memory.session,),
    ).fetchall()
    assert None not in [turn[0] for turn in turns], "a turn has no end"
    frames = [frame for frame, role, _ in messages if role == "assistant"]
    assert frames == sorted(frames), "the store is not in the order of the ids"
    users = [json.loads(content)["content"] for _, role, content in messages if role == "user"]
    assert _is_within(memory.accepted, users), "an accepted message is missing"
    assert _is_within(users, memory.asked), "a message is stored that nobody sent"
    by_frame = {frame: content for frame, role, content in messages if role == "assistant"}
    ends = {turn[3]: turn[0] for turn in turns}
    errors = {turn[2]: turn[1] for turn in turns if turn[2] is not None}
    for frame in memory.frames:
        if frame.event == "message" and events.read(frame.data).durable:
            assert by_frame[frame.id] == frame.data.decode(), "a message is not as it was shown"
        if frame.event == "error":
            assert errors[frame.id] == frame.value["error"], "an error is not stored"
        if frame.event == "done":
            assert ends[frame.id] == frame.value["reason"], "an end is not stored"


def _is_within(some, all_):
    """Whether `some` are among `all_`, in their order."""
    rest = iter(all_)
    return all(each in rest for each in some)


def _result(frames):
    messages = [frame.value for frame in frames if frame.event == "message"]
    return next(message["result"] for message in messages if message["type"] == "result")


async def _files(us, session):
    found = (await us.get(f"/api/sessions/{session}/files")).json()["files"]
    return [(file["path"], file["size"], file["modifiedAt"]) for file in found]


def _command(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
