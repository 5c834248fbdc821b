"""The small command language of the scripted engine and the stub model.

The user's last text determines the answer, so tests and demos are the same with and without the
real CLI. docs/testing.md lists the commands.
"""

import math
import re
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import msgspec
from msgspec import Struct

# At most five digits, so that a typo can't exhaust the machine.
_COUNT = r"([1-9]\d{0,4})"
# How the CLI begins the texts that it adds to a conversation by itself.
_NOT_THE_USER = ("<system-reminder>", "[Request interrupted by user")


class Say(Struct, frozen=True):
    """Text in pieces, one delta each, with a pause after each piece; thinking comes first."""

    pieces: tuple[str, ...]
    pause: float = 0.0
    thinking: str = ""

    @property
    def text(self) -> str:
        return "".join(self.pieces)


class Use(Struct, frozen=True):
    """A call of one of the engine's tools. Its paths are relative to the working directory."""

    tool: str
    input: dict[str, Any]


class Fail(Struct, frozen=True):
    """The model's endpoint answers with this HTTP status.

    The client may try `again`, and is asked to wait `retry_after` seconds before it does.
    """

    code: int
    text: str = "the script asked for this error"
    again: bool = False
    retry_after: int | None = None


class Crash(Struct, frozen=True):
    """The engine's process dies in the middle of the turn."""


ScriptAnswer: TypeAlias = Say | Use | Fail | Crash


def said_by_user(text: str) -> bool:
    """False for texts that the CLI itself adds to the conversation as the user's."""
    return not text.startswith(_NOT_THE_USER)


def answer(texts: Sequence[str]) -> ScriptAnswer:
    """The answer that the last text asks for; `texts` are all texts of the user, in order."""
    last = texts[-1] if texts else ""
    if last.strip() == "CRASH":
        return Crash()
    if last.strip() == "RECALL":
        return say(msgspec.json.encode(texts).decode())
    return _command(last) or say(f"echo: {last}")


def after_tool(output: str, *, is_error: bool | None = False) -> Say:
    """The text that ends a turn in which a tool was used."""
    return say(f"{'failed' if is_error else 'done'}: {output}")


def after_task(description: str) -> ScriptAnswer:
    """The answer to the report that a command in the background has ended."""
    return _command(description) or say(f"finished: {description}")


def say(text: str) -> Say:
    """A text in two pieces if it has more than one word, so that clients see it stream."""
    head, space, tail = text.partition(" ")
    return Say((head + space, tail) if tail else (text,))


def not_offered(tool: str) -> Say:
    """The text that replaces a call of a tool that the engine was not given."""
    return say(f"tool {tool} is not offered")


def tokens(*texts: str) -> int:
    """A token count that is easy to check: four characters a token, each text rounded up."""
    return sum(math.ceil(len(text) / 4) for text in texts)


# Every kind of character that has broken some reader of JSON, lines or UTF-8: quotes and escapes,
# controls, characters that some readers take for line ends, combining marks, right-to-left text,
# non-characters, and characters of one to four bytes.
_UNICODE = (
    'plain " \\ / \b\f\t\r \x00\x01\x1f\x7f \x85\u2028\u2029\ufeff naïve e\u0301 ß Ω Ж '
    "שלום مرحبا हिन्दी 漢字 かな 한글 \ufffd\ufffe\uffff 😀 👩\u200d👩\u200d👧 🇩🇪 𐍈 \U0010ffff"
)


def big(kib: int) -> Say:
    """Exactly `kib` KiB of UTF-8, always the same: numbered lines full of odd characters."""
    size = kib * 1024
    line_size = len(f"{0:06d} {_UNICODE}\n".encode())
    lines = [f"{number:06d} {_UNICODE}\n" for number in range(size // line_size)]
    lines.append("." * (size - line_size * len(lines)))
    # About 16 KiB for each delta gives as many events as a fast model sends.
    step = max(1, 16 * 1024 // line_size)
    return Say(tuple("".join(lines[at : at + step]) for at in range(0, len(lines), step)))


def _command(text: str) -> ScriptAnswer | None:
    for pattern, ask in _COMMANDS:
        if match := pattern.fullmatch(text):
            return ask(*match.groups())
    return None


def _background(command: str, after: str | None) -> ScriptAnswer:
    """`after` is what the engine does when the command has ended: its description asks for it."""
    call = {"command": command, "run_in_background": True}
    return Use("Bash", {**call, "description": after} if after else call)


def _bash(command: str) -> ScriptAnswer:
    return Use("Bash", {"command": command})


def _write(path: str, text: str | None) -> ScriptAnswer:
    return Use("Write", {"file_path": path, "content": text or ""})


def _ticks(count: str, seconds: float = 0.0) -> Say:
    pieces = tuple(f"tick{number} " for number in range(int(count)))
    return Say(pieces, pause=seconds / len(pieces))


def _slow(count: str, seconds: str | None) -> ScriptAnswer:
    return _ticks(count, 0.2 * int(count) if seconds is None else float(seconds))


def _burst(count: str) -> ScriptAnswer:
    return _ticks(count)


def _big(kib: str) -> ScriptAnswer:
    return big(int(kib))


def _think(text: str) -> ScriptAnswer:
    return Say(say(f"thought: {text}").pieces, thinking=text)


def _fail(code: str) -> ScriptAnswer:
    return Fail(int(code))


_COMMANDS: tuple[tuple[re.Pattern[str], Callable[..., ScriptAnswer]], ...] = (
    (re.compile(r"BACKGROUND:\s*(\S[^\n]*)(?:\n(.*))?", re.DOTALL), _background),
    (re.compile(r"BASH:\s*(\S.*)", re.DOTALL), _bash),
    (re.compile(r"WRITE:\s*(\S+)(?:\s(.*))?", re.DOTALL), _write),
    (re.compile(rf"SLOW:\s*{_COUNT}(?:\s+(\d{{1,5}}(?:\.\d+)?))?\s*", re.ASCII), _slow),
    (re.compile(rf"BURST:\s*{_COUNT}\s*", re.ASCII), _burst),
    (re.compile(rf"BIG:\s*{_COUNT}\s*", re.ASCII), _big),
    (re.compile(r"THINK:\s*(\S.*)", re.DOTALL), _think),
    (re.compile(r"FAIL:\s*([45]\d\d)\s*", re.ASCII), _fail),
)
