"""`python -m bridge.mcp_probe SERVERS SECONDS`: tries MCP servers, each as the CLI would use it.

SERVERS is the JSON object `mcpServers`, with its variables expanded. Prints a JSON object: why each
server that failed did so. A server works if it answers `initialize` in that time.
"""

import json
import os
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, cast

_HELLO = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "ash", "version": "1"},
    },
}
_LONGEST_REASON = 300
_AT_ONCE = 8


def main(servers: Mapping[str, Any], seconds: float) -> dict[str, str]:
    """The servers that failed, with the reason of each."""
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        tried = {name: threads.submit(_why, server, seconds) for name, server in servers.items()}
    reasons = {name: future.result() for name, future in tried.items()}
    return {name: why[:_LONGEST_REASON] for name, why in reasons.items() if why}


def _why(server: Mapping[str, Any], seconds: float) -> str | None:
    try:
        if "command" in server:
            return _try_program(server, seconds)
        return _try_address(server, seconds)
    except (OSError, ValueError, TypeError) as error:
        return str(error)


def _try_program(server: Mapping[str, Any], seconds: float) -> str | None:
    process = subprocess.Popen(
        [server["command"], *server.get("args", [])],
        env={**os.environ, **server.get("env", {})},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    timer = threading.Timer(seconds, _kill, [process])
    last_words: list[bytes] = []
    stderr = threading.Thread(target=_read_stderr, args=(process, last_words))
    with process:
        timer.start()
        stderr.start()
        try:
            answered, in_time = _answers(process), timer.is_alive()
            # One that closes its output may still live, with its last words to come.
            process.wait(0 if answered else seconds)
        except subprocess.TimeoutExpired:
            pass
        finally:
            timer.cancel()
            _kill(process)
            stderr.join()
    if answered:
        return None
    if not in_time:
        return f"it did not answer initialize within {seconds:g} s"
    said = b"".join(last_words).decode(errors="replace").strip()
    return f"it ended ({process.returncode}): {said or 'it printed nothing'}"


def _answers(process: "subprocess.Popen[bytes]") -> bool:
    """Whether it answers before its output ends."""
    assert process.stdin is not None
    assert process.stdout is not None
    # Past the buffer: what a program that has ended did not take would be tried again at the end.
    with suppress(BrokenPipeError):
        os.write(process.stdin.fileno(), json.dumps(_HELLO).encode() + b"\n")
    for line in process.stdout:
        with suppress(ValueError):
            answer = json.loads(line)
            if isinstance(answer, dict) and answer.get("id") == 1:
                return "result" in answer
    return False


def _read_stderr(process: "subprocess.Popen[bytes]", last_words: list[bytes]) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        last_words[:] = [line]


def _kill(process: "subprocess.Popen[bytes]") -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, 9)


def _try_address(server: Mapping[str, Any], seconds: float) -> str | None:
    """Any answer but an error will do; the body of an event stream may never end."""
    old = server.get("type") == "sse"
    headers = {
        "Accept": "text/event-stream" if old else "application/json, text/event-stream",
        "Content-Type": "application/json",
        **server.get("headers", {}),
    }
    body = None if old else json.dumps(_HELLO).encode()
    request = urllib.request.Request(server["url"], body, headers)  # noqa: S310 - http alone fits
    try:
        with _open(request, timeout=seconds):
            return None
    except urllib.error.HTTPError as error:
        return f"it answered {error.code} {error.reason}"
    except TimeoutError:
        return f"it did not answer initialize within {seconds:g} s"
    except urllib.error.URLError as error:
        return str(error.reason)


_open = cast("Callable[..., Any]", urllib.request.urlopen)

if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]), float(sys.argv[2]))))  # noqa: T201 - its output
