"""Runs one of the agent's hooks, in the place of the CLI.

A hook may guard: if it exits with 2, a tool does not run. The CLI runs the tool all the same when
the guard hangs, can't be executed or is killed. Here such a guard counts as a refusal, in words
that name it. Any other hook that hangs is ended. No hook's output is longer than MAX_OUTPUT.

A program of its own, because each hook waits for its start: it imports only what Python has
loaded anyway, which takes 20 ms instead of 90.
    hook_runner.py SECONDS SECONDS_AT_START PREFIX COMMAND
"""

import os
import select
import signal
import sys
import time

# The CLI puts the output into one frame, twice. Output that is meant to be read is far shorter.
MAX_OUTPUT = 256 * 1024
# How long to wait, after a hook has ended, for output that its own children hold open.
_REST_SECONDS = 0.5
_CHUNK = 64 * 1024
# Milliseconds: the kernel takes no more.
_LONGEST_POLL = 2**31 - 1
_REFUSED = 2

# The events that a hook can refuse, and what follows if it does.
GUARDED = {
    "PreToolUse": "the tool was not run",
    "PermissionRequest": "the permission was not given",
    "UserPromptSubmit": "the message was not given to the agent",
    "UserPromptExpansion": "the message was not given to the agent",
}
# The events whose hooks delay the start of a session.
_AT_START = ("SessionStart", "Setup")

_SETTINGS = ("settings.local.json", "settings.json")
_EVENT = b'"hook_event_name":"'
_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Hook:
    """A hook's process and its pipes, until it has ended."""

    def __init__(self, words: list[str], given: bytes) -> None:
        self.code: int | None = None
        self.too_long = False
        self.is_async = False
        self._given = given
        self._left = {1: MAX_OUTPUT, 2: MAX_OUTPUT}
        stdin, self._stdin = os.pipe()
        stdout, stderr = os.pipe(), os.pipe()
        self._outputs = {stdout[0]: 1, stderr[0]: 2}
        self._ended, wake = os.pipe()
        os.set_blocking(self._stdin, False)
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(wake)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        ends = [(stdin, 0), (stdout[1], 1), (stderr[1], 2)]
        self._pid = os.posix_spawn(
            words[0],
            words,
            os.environ,
            file_actions=[(os.POSIX_SPAWN_DUP2, ours, theirs) for ours, theirs in ends],
            setsid=True,
            setsigdef=[signal.SIGPIPE],
        )
        for ours, _ in ends:
            os.close(ours)
        for number in _ENDING:
            signal.signal(number, self._end_with)
        self._poll = select.poll()
        self._poll.register(self._stdin, select.POLLOUT)
        for fd in (self._ended, *self._outputs):
            self._poll.register(fd, select.POLLIN)

    def run(self, seconds: float | None) -> bool:
        """Carries its input and output until it ends; False if it takes too long."""
        deadline = None if seconds is None else time.monotonic() + seconds - _age()
        while self.code is None or self._outputs:
            left = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000
            events = self._poll.poll(None if left is None else min(left, _LONGEST_POLL))
            if not events:
                if left is not None and left > _LONGEST_POLL:
                    continue
                return self.code is not None
            for fd, _ in events:
                self._serve(fd)
            if self.is_async and self.code is None:
                deadline = None
            if self._ended in [fd for fd, _ in events] and self.code is not None:
                deadline = time.monotonic() + _REST_SECONDS
        return True

    def kill(self) -> None:
        try:
            os.killpg(self._pid, signal.SIGKILL)
        except ProcessLookupError:
            return

    def _serve(self, fd: int) -> None:
        if fd == self._stdin:
            self._feed()
        elif fd == self._ended:
            os.read(fd, _CHUNK)
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            self.code = os.waitstatus_to_exitcode(status) if pid else None
        else:
            self._copy(fd)

    def _feed(self) -> None:
        try:
            self._given = self._given[os.write(self._stdin, self._given[:_CHUNK]) :]
        except OSError:
            self._given = b""  # it does not read what it is given
        if not self._given:
            self._poll.unregister(self._stdin)
            os.close(self._stdin)

    def _copy(self, fd: int) -> None:
        """Copies what it prints, as it comes; drops what is too much."""
        chunk, target = os.read(fd, _CHUNK), self._outputs[fd]
        if not chunk:
            self._poll.unregister(fd)
            os.close(fd)
            del self._outputs[fd]
            return
        if target == 1 and self._left[1] == MAX_OUTPUT:
            # A hook may say in its output that nobody is to wait for it.
            self.is_async = chunk.replace(b" ", b"").startswith(b'{"async":true')
        self.too_long |= len(chunk) > self._left[target]
        chunk = chunk[: self._left[target]]
        self._left[target] -= len(chunk)
        while chunk:
            chunk = chunk[os.write(target, chunk) :]

    def _end_with(self, number: int, _: object) -> None:
        self.kill()
        os._exit(128 + number)


def main(seconds: float, seconds_at_start: float, prefix: str, command: str) -> int:
    given = sys.stdin.buffer.read()
    event = _event(given)
    try:
        own = _own_settings(event, command)
        limit = _limit(own, seconds)
        if event in _AT_START:
            limit = min(limit or seconds_at_start, seconds_at_start)
        shell = os.environ.get("SHELL", "/bin/bash") if own.get("shell") == "bash" else "/bin/sh"
        fault, code = _run([prefix, command] if prefix else [shell, "-c", command], given, limit)
    except Exception as error:  # noqa: BLE001 - the tool would run, whatever it is
        fault, code = f"can't be run: {error}", 1
    if not fault:
        return code
    follows = GUARDED.get(event)
    end = f", so {follows}" if follows else ""
    print(f'The {event} hook "{command[:200]}" {fault}{end}.', file=sys.stderr, flush=True)
    return _REFUSED if follows else code or 1


def _age() -> float:
    """Seconds since the CLI started us, from which it counts: a busy machine takes its time."""
    try:
        with open("/proc/self/stat", "rb") as stat:
            ticks = int(stat.read().rpartition(b")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return 0.0
    now = time.clock_gettime(time.CLOCK_BOOTTIME)
    return max(0.0, now - ticks / os.sysconf("SC_CLK_TCK"))


def _run(words: list[str], given: bytes, limit: float | None) -> tuple[str, int]:
    """What was wrong with the hook, in words, if anything; and its exit code."""
    hook = Hook(words, given)
    if not hook.run(limit):
        hook.kill()
        return f"did not end within {limit:g} seconds", 0
    code = hook.code or 0
    if hook.too_long:
        return f"printed more than {MAX_OUTPUT // 1024} KiB", code
    if code < 0:
        return f"was killed by signal {-code}", 128 - code
    if code in (126, 127):
        return f"can't be run (exit code {code})", code
    return "", code


def _event(given: bytes) -> str:
    """The event's name. A tool's input may have others: then the one that can refuse counts."""
    rests = given.replace(b'": "', b'":"').split(_EVENT)[1:]
    names = [rest.partition(b'"')[0].decode(errors="replace") for rest in rests]
    return next((name for name in names if name in GUARDED), names[0] if names else "")


def _limit(own: dict[str, object], seconds: float) -> float | None:
    """How many seconds the hook may take. None means that nobody waits for it.

    Its own timeout counts if it has one. The CLI lets the tool run when that is over, so the limit
    is a little shorter.
    """
    if own.get("async") is True or own.get("asyncRewake") is True:
        return None
    timeout = own.get("timeout")
    if not isinstance(timeout, int | float) or timeout <= 0:
        return seconds
    return max(timeout - 0.5, timeout / 2)


def _own_settings(event: str, command: str) -> dict[str, object]:
    """What settings, plugins, skills and subagents say of the hook; empty if nothing."""
    project = os.path.join(os.environ.get("CLAUDE_PROJECT_DIR", "."), ".claude")
    home = os.environ.get("CLAUDE_CONFIG_DIR") or os.path.expanduser("~/.claude")
    files = [os.path.join(folder, name) for folder in (project, home) for name in _SETTINGS]
    if plugin := os.environ.get("CLAUDE_PLUGIN_ROOT"):
        files.append(os.path.join(plugin, "hooks", "hooks.json"))
    found = [hook for file in files for hook in _in_settings(_read(file), event, command)]
    if found:
        return _strictest(found)
    for kind in ("agents", "skills", "commands"):
        for folder, _, names in os.walk(os.path.join(project, kind)):
            for name in names:
                is_markdown = name.endswith(".md")
                if is_markdown and (own := _in_frontmatter(_read(f"{folder}/{name}"), command)):
                    return own
    return {}


def _read(file: str) -> bytes:
    """The file; empty if it is missing, or has nothing we look for and need not be parsed."""
    try:
        with open(file, "rb") as opened:
            content = opened.read()
    except OSError:
        return b""
    return content if any(word in content for word in (b"timeout", b"async", b"shell")) else b""


def _strictest(hooks: list[dict[str, object]]) -> dict[str, object]:
    """One command may stand for several matchers, and nobody says which one runs it now.

    So the shortest timeout counts, and it is waited for unless all say that nobody waits.
    """
    timeouts = [
        each for hook in hooks if isinstance(each := hook.get("timeout"), int | float) and each > 0
    ]
    waited = [hook for hook in hooks if True not in (hook.get("async"), hook.get("asyncRewake"))]
    own = {**(waited or hooks)[0]}
    return {**own, "timeout": min(timeouts)} if timeouts else own


def _in_settings(content: bytes, event: str, command: str) -> list[dict[str, object]]:
    if not content:
        return []
    import json

    try:
        return [
            hook
            for matcher in json.loads(content)["hooks"][event]
            for hook in matcher["hooks"]
            if os.path.expandvars(hook.get("command", "")) == os.path.expandvars(command)
        ]
    except (ValueError, KeyError, TypeError, AttributeError):
        return []


def _in_frontmatter(content: bytes, command: str) -> dict[str, object]:
    """It is YAML, of which we need one number: the shortest timeout of the hooks there."""
    head = content.decode(errors="replace").partition("---")[2].partition("---")[0]
    lines = [line.strip().removeprefix("- ") for line in head.splitlines()]
    numbers = [line.partition(":")[2].strip() for line in lines if line.startswith("timeout:")]
    timeouts = [float(number) for number in numbers if number.replace(".", "", 1).isdigit()]
    return {"timeout": min(timeouts)} if command in head and timeouts else {}


if __name__ == "__main__":
    at_most, at_start, own_prefix, what = sys.argv[1:]
    sys.exit(main(float(at_most), float(at_start), own_prefix, what))
