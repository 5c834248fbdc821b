"""Reads `CLAUDE.md`, the agent's system prompt, with the files that it imports.

The CLI would send it as a memory, after a system prompt of its own. So the bridge reads it, and
gives the CLI the text as the system prompt. An import counts where it would for the CLI: relative
to the file that names it, never from outside of the folder, four files deep. Every file is hostile
input: an agent may have put a pipe or a link in its place.
"""

import errno
import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

from bridge.engine import EngineError
from bridge.prompt_text import parse

PROMPT_FILE = "CLAUDE.md"

# As in CLI 2.1.329, which leaves out larger files and deeper imports.
MAX_BYTES = 4 * 1024 * 1024
MAX_DEPTH = 4

# A missing import is worth a word only if it looks like a file: `@alice` does not.
_TEXT_FILE = re.compile(r".*\.(?:md|txt)")


class SystemPrompt(Struct, frozen=True):
    """The text, the files that are in it, and a sentence for each import that is not."""

    text: str
    files: list[Path]
    left_out: list[str]


class _Unreadable(Exception):
    """A file that can't be part of a prompt. The text says why."""


def put(text: str, folder: Path, write_log: Callable[[str], None]) -> None:
    """Makes a session's own prompt the folder's CLAUDE.md, so that the file shows what holds.

    A link is replaced, not followed. If the file can't be written, the prompt holds all the same.
    """
    file = folder / PROMPT_FILE
    with suppress(OSError, _Unreadable):
        if not file.is_symlink() and _read(file) == text:
            return
    fresh = folder / f".{PROMPT_FILE}.{os.getpid()}"
    try:
        fresh.write_text(text)
        fresh.replace(file)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        write_log(f"{PROMPT_FILE} can't show the session's systemPrompt: {error.strerror}")
    else:
        write_log(f"{PROMPT_FILE} is the session's systemPrompt now")


def read(folder: Path, text: str | None = None) -> SystemPrompt | None:
    """The folder's system prompt; with `text`, that in place of what CLAUDE.md says.

    None if CLAUDE.md is missing or empty. Raises EngineError if it can't be read.
    """
    reader = _Reader(folder)
    try:
        parts = list(reader.main(text))
    except FileNotFoundError:
        return None
    except (OSError, _Unreadable) as error:
        raise EngineError(
            f"{PROMPT_FILE} can't be the system prompt: {_why(error)}. Put a readable one into"
            " the session's workspace."
        ) from None
    return SystemPrompt("\n\n".join(parts), reader.files, reader.left_out) if parts else None


class _Reader:
    def __init__(self, folder: Path) -> None:
        self.files: list[Path] = []
        self.left_out: list[str] = []
        self._folder = Path(os.path.realpath(folder))
        self._seen: set[str] = set()

    def main(self, text: str | None) -> Iterator[str]:
        """The text of CLAUDE.md, then each imported file under its name, in the CLI's order."""
        file = self._folder / PROMPT_FILE
        if text is None:
            self._check(file)
            text = _read(file)
        content, imports = parse(text)
        if content.strip():
            self.files.append(file)
            self._seen.add(os.path.realpath(file))
            yield content
            yield from self._imported(file, imports, MAX_DEPTH)

    def _imported(self, importer: Path, names: list[str], depth: int) -> Iterator[str]:
        folder = os.path.dirname(os.path.realpath(importer))  # noqa: PTH120 - as realpath gives it
        for name in names:
            file = Path(os.path.normpath(os.path.join(folder, os.path.expanduser(name))))  # noqa: PTH111, PTH118 - one path, not four
            content, more = self._content(name, file, depth)
            if content.strip():
                yield f"Contents of {file.relative_to(self._folder)}:\n\n{content}"
                yield from self._imported(file, more, depth - 1)

    def _content(self, name: str, file: Path, depth: int) -> tuple[str, list[str]]:
        """Nothing if the file can't be part of the prompt, or is in it already."""
        real = os.path.realpath(file)
        if real in self._seen:
            return "", []
        try:
            self._check(file, depth)
            text = _read(file)
        except (FileNotFoundError, IsADirectoryError):
            if _TEXT_FILE.fullmatch(name):
                self.left_out.append(f"@{name} is not there")
        except (OSError, _Unreadable) as error:
            self.left_out.append(f"@{name} is left out: {_why(error)}")
        else:
            self._seen.add(real)
            self.files.append(file)
            return parse(text)
        return "", []

    def _check(self, file: Path, depth: int = MAX_DEPTH) -> None:
        for path in (file, Path(os.path.realpath(file))):
            if not path.is_relative_to(self._folder):
                raise _Unreadable("it is outside of the agent's folder")
        if not depth and file.is_file():
            raise _Unreadable(f"imports go {MAX_DEPTH} files deep")


def _read(file: Path) -> str:
    """Raises OSError and _Unreadable. A pipe is not waited for."""
    handle = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _check_kind(os.fstat(handle))
        with os.fdopen(handle, "rb", closefd=False) as opened:
            content = opened.read(MAX_BYTES)
    finally:
        os.close(handle)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise _Unreadable("it is not text in UTF-8") from None
    if "\0" in text:
        raise _Unreadable("it is not text")
    return text


def _check_kind(status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(status.st_mode):
        raise _Unreadable("it is not a file")
    if status.st_size > MAX_BYTES:
        raise _Unreadable(f"it is larger than {MAX_BYTES // 1024 // 1024} MB")


def _why(error: Exception) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
