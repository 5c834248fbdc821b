"""Runs one of the agent's hooks, in the place of the CLI.

A hook may guard: if it exits with 2, a tool does not run. The CLI runs the tool all the same when
the guard hangs, can't be executed or is killed. Here such a guard counts as a refusal, in words
that name it. Any other hook that hangs is ended. No hook's output is longer than MAX_OUTPUT.

A program of its own, without the imports of the bridge, because each hook waits for its start:
    hook_runner.py SECONDS SECONDS_AT_START PREFIX COMMAND
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

# What the CLI makes one frame of, twice over. Hooks that are meant to be read print far less.
MAX_OUTPUT = 256 * 1024
# The CLI gives up at the hook's own timeout, and lets the tool run. So we are done before that.
_MARGIN_SECONDS = 0.5
# How long to wait, after a hook has ended, for output that its own children hold open.
_REST_SECONDS = 0.5
_CHUNK = 64 * 1024
_REFUSED = 2

# The events that a hook can refuse, and what follows if it does.
GUARDED = {
    "PreToolUse": "the tool was not run",
    "PermissionRequest": "the permission was not given",
    "UserPromptSubmit": "the message was not given to the agent",
    "UserPromptExpansion": "the message was not given to the agent",
}
# These hold the start of a session.
_AT_START = ("SessionStart", "Setup")


class Output:
    """Copies what a hook prints, as it comes; drops what is too much."""

    def __init__(self, source: IO[bytes], target: int) -> None:
        self.too_long = False
        self.begin = b""
        self._source = source
        self._target = target
        self._thread = threading.Thread(target=self._copy, daemon=True)
        self._thread.start()

    def wait(self) -> None:
        self._thread.join(_REST_SECONDS)

    def _copy(self) -> None:
        left = MAX_OUTPUT
        while chunk := os.read(self._source.fileno(), _CHUNK):
            self.begin = self.begin or chunk
            self.too_long |= len(chunk) > left
            chunk = chunk[:left]
            left -= len(chunk)
            while chunk:
                chunk = chunk[os.write(self._target, chunk) :]


def main(seconds: float, seconds_at_start: float, prefix: str, command: str) -> int:
    given = sys.stdin.buffer.read()
    event = _event(given)
    own = next(_own_settings(event, command), {})
    limit = _limit(own, seconds)
    if event in _AT_START:
        limit = min(limit, seconds_at_start)
    shell = os.environ.get("SHELL", "/bin/bash") if own.get("shell") == "bash" else "/bin/sh"
    words = [prefix, command] if prefix else [shell, "-c", command]
    try:
        fault, code = _run(words, given, limit, is_async=_is_async(own))
    except OSError as error:
        fault, code = f"can't be run: {error}", 1
    if not fault:
        return code
    follows = GUARDED.get(event)
    end = f", so {follows}" if follows else ""
    print(f'The {event} hook "{command[:200]}" {fault}{end}.', file=sys.stderr, flush=True)  # noqa: T201
    return _REFUSED if follows else code or 1


def _run(words: list[str], given: bytes, limit: float, *, is_async: bool) -> tuple[str, int]:
    """What was wrong with the hook, in words, if anything; and its exit code."""
    hook = subprocess.Popen(
        words,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert hook.stdin is not None
    assert hook.stdout is not None
    assert hook.stderr is not None
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, _: _end_with(hook, number))
    threading.Thread(target=_feed, args=(hook.stdin, given), daemon=True).start()
    outputs = out, _ = Output(hook.stdout, 1), Output(hook.stderr, 2)
    deadline = time.monotonic() + limit
    while True:
        try:
            code = hook.wait(None if is_async else max(0.0, deadline - time.monotonic()))
            break
        except subprocess.TimeoutExpired:
            # A hook may also say in its output that nobody is to wait for it.
            if is_async := out.begin.replace(b" ", b"").startswith(b'{"async":true'):
                continue
            _kill(hook)
            return f"did not end within {limit:g} seconds", 0
    for output in outputs:
        output.wait()
    if any(output.too_long for output in outputs):
        return f"printed more than {MAX_OUTPUT // 1024} KiB", code
    if code < 0:
        return f"was killed by signal {-code}", 128 - code
    if code in (126, 127):
        return f"can't be run (exit code {code})", code
    return "", code


def _feed(stdin: IO[bytes], given: bytes) -> None:
    # A hook need not read what it is given.
    with suppress(OSError), stdin:
        stdin.write(given)


def _kill(hook: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(hook.pid, signal.SIGKILL)


def _end_with(hook: subprocess.Popen[bytes], number: int) -> None:
    _kill(hook)
    os._exit(128 + number)


def _event(given: bytes) -> str:
    try:
        return str(json.loads(given)["hook_event_name"])
    except (ValueError, KeyError, TypeError):
        return ""


def _limit(own: dict[str, Any], seconds: float) -> float:
    """The hook's own timeout, if it has one: whoever wrote it has thought about it."""
    timeout = own.get("timeout")
    if not isinstance(timeout, int | float) or timeout <= 0:
        return seconds
    return max(timeout - _MARGIN_SECONDS, timeout / 2)


def _is_async(own: dict[str, Any]) -> bool:
    return own.get("async") is True or own.get("asyncRewake") is True


def _own_settings(event: str, command: str) -> Iterator[dict[str, Any]]:
    """What the agent's settings say of hooks with that command."""
    project = os.environ.get("CLAUDE_PROJECT_DIR", ".")
    home = os.environ.get("CLAUDE_CONFIG_DIR") or Path.home() / ".claude"
    local = Path(project, ".claude")
    for file in (
        local / "settings.local.json",
        local / "settings.json",
        Path(home, "settings.json"),
    ):
        try:
            for matcher in json.loads(file.read_bytes())["hooks"][event]:
                for hook in matcher["hooks"]:
                    if hook.get("command", "").replace("${CLAUDE_PROJECT_DIR}", project) == (
                        command.replace("${CLAUDE_PROJECT_DIR}", project)
                    ):
                        yield hook
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue


if __name__ == "__main__":
    at_most, at_start, own_prefix, what = sys.argv[1:]
    sys.exit(main(float(at_most), float(at_start), own_prefix, what))
