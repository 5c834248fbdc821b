"""The files in which conversations are kept, one JSON object a line. All functions block.

The CLI writes them, and the scripted engine does so in the same place. The agent can write there
too, so a transcript may hold anything, or be something else than a file.
"""

import os
import re
import stat
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType, field

from ash.protocol import MAX_LINE, Branch, is_uuid, with_whole_characters

# How many transcripts or settings of one name are kept aside; then the last of them is replaced.
_KEPT_ASIDE = 20


class FoundTranscript(Struct):
    """What there is of a conversation.

    `speaks` is whether an engine can resume it: it has a message. `complete` says that its lines
    are whole and the message that was asked for is among them; else `fault` says what is wrong.
    `cut` is the length up to which the lines are whole, if only the last one is not.
    """

    path: Path | None = None
    speaks: bool = False
    complete: bool = False
    fault: str = "is gone"
    cut: int | None = None


class _Message(Struct):
    content: Raw = Raw(b"null")


class _Line(Struct):
    """The fields that we look at; `Any`, because any value may be there."""

    type: Any = None
    uuid: Any = None
    parent: Any = field(name="parentUuid", default=None)
    message: Raw = Raw(b"null")

    @property
    def speaks(self) -> bool:
        """Whether it is a message that an engine can read."""
        if self.type not in ("user", "assistant") or not isinstance(self.uuid, str):
            return False
        try:
            content = _decode_message(self.message).content
        except msgspec.DecodeError:
            return False
        return memoryview(content)[0] in b'"['


class _Stored(Struct):
    """A message as the daemon stores it; a user's prompt has its `content` alone."""

    type: str
    uuid: Any = None
    message: Raw | UnsetType = UNSET
    content: Raw = Raw(b'""')


_decode = msgspec.json.Decoder(_Line).decode
_decode_message = msgspec.json.Decoder(_Message).decode
_encode = msgspec.json.encode


def config_folder() -> Path:
    """Where the CLI keeps settings and conversations."""
    return Path(os.environ.get("CLAUDE_CONFIG_DIR") or Path.home() / ".claude")


def path_for(session_id: str) -> Path:
    """Where the transcript is, whichever folder its conversation began in, or where it would be."""
    name = f"{session_id}.jsonl"
    projects = config_folder() / "projects"
    folder = re.sub(r"[^a-zA-Z0-9]", "-", os.path.realpath("."))
    return next(projects.glob(f"*/{name}"), projects / folder / name)


def look_at(session_id: str, last: str | None) -> FoundTranscript:
    """Reads the whole transcript. `last` is the uuid of a message that should be in it."""
    path = path_for(session_id)
    try:
        info = path.lstat()
    except FileNotFoundError:
        return FoundTranscript()
    if not stat.S_ISREG(info.st_mode):
        return FoundTranscript(path, fault="is not a file")
    if not info.st_size:
        return FoundTranscript(path, fault="is empty")
    return _read(path, last)


def _read(path: Path, last: str | None) -> FoundTranscript:
    found = FoundTranscript(path)
    parents: dict[str, Any] = {}
    spoken, broken, read = "", 0, 0
    for line, head in _lines(path):
        if head is None and not line.endswith(b"\n"):
            found.cut = read
        elif head is None:
            broken += 1
        elif isinstance(head.uuid, str):
            parents[head.uuid] = head.parent
            spoken = head.uuid if head.speaks else spoken
        read += len(line)
    found.speaks = bool(spoken)
    if not spoken:
        found.fault = "holds no message that can be read"
    elif broken:
        found.fault = f"has lines that can't be read ({broken})"
    elif last is not None and last not in parents:
        found.fault = "ends before the last message"
    elif not _is_rooted(parents, last or spoken):
        found.fault = "has lost its beginning"
    else:
        found.complete, found.fault = True, ""
    return found


def _is_rooted(parents: dict[str, Any], uuid: Any) -> bool:
    """Whether each line's parent is there, up to the first one or to a compaction.

    A CLI whose transcript is removed while it runs writes on into a new one.
    """
    while uuid in parents:
        uuid = parents.pop(uuid)
    return uuid is None


def _lines(path: Path) -> Iterator[tuple[bytes, _Line | None]]:
    """Each line, and what is in it; None if it is no JSON object."""
    if not os.access(path, os.R_OK | os.W_OK):
        path.chmod(0o600)
    with path.open("rb") as file:
        for line in iter(partial(file.readline, MAX_LINE), b""):
            yield line, _head(line)


def _head(line: bytes) -> _Line | None:
    try:
        try:
            return _decode(line)
        except msgspec.DecodeError:
            return _decode(with_whole_characters(line))
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None


def mend_end(found: FoundTranscript) -> None:
    """Leaves out a last line that is cut, and ends one that lacks its line feed."""
    assert found.path is not None
    if found.cut is not None:
        os.truncate(found.path, found.cut)
        return
    with found.path.open("rb+") as file:
        file.seek(-1, os.SEEK_END)
        if file.read(1) != b"\n":
            file.write(b"\n")


def branch_off(branch: Branch, session_id: str, last: str | None) -> bool:
    """Begins `session_id` as a copy of another conversation, up to the message `branch.at`.

    False, and nothing is written, if the other one is not there or lacks that message or `last`.
    The CLI's own `--resume-session-at` finds no message before a compaction.
    """
    if not is_uuid(branch.session_id):
        return False
    source = look_at(branch.session_id, branch.at or last)
    if source.path is None or not source.complete:
        return False
    _replace(source.path.with_name(f"{session_id}.jsonl"), _up_to(source.path, branch, session_id))
    return True


def _up_to(path: Path, branch: Branch, session_id: str) -> Iterator[bytes]:
    old, new = (f'"sessionId":"{name}"'.encode() for name in (branch.session_id, session_id))
    for line, head in _lines(path):
        if head is not None:
            yield line.rstrip(b"\n").replace(old, new) + b"\n"
            if branch.at is not None and head.uuid == branch.at:
                return


def write(session_id: str, messages: Iterable[Raw]) -> int:
    """Writes a transcript of messages that the daemon has stored, and returns their number."""
    path = path_for(session_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = list(_written(session_id, messages))
    _replace(path, lines)
    return len(lines)


def _written(session_id: str, messages: Iterable[Raw]) -> Iterator[bytes]:
    parent = None
    for raw in messages:
        stored = msgspec.json.decode(with_whole_characters(raw), type=_Stored)
        said = stored.message
        uuid = stored.uuid if is_uuid(stored.uuid) else str(uuid4())
        line = {
            "parentUuid": parent,
            "isSidechain": False,
            "userType": "external",
            "cwd": os.path.realpath("."),
            "sessionId": session_id,
            "type": stored.type,
            "message": {"role": "user", "content": stored.content} if said is UNSET else said,
            "uuid": uuid,
            "timestamp": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z"),
        }
        yield _encode(line) + b"\n"
        parent = uuid


def _replace(path: Path, lines: Iterable[bytes]) -> None:
    """Writes the file under another name first, so that a bridge that is killed leaves no half."""
    fresh = path.with_suffix(".new")
    with fresh.open("wb") as file:
        file.writelines(lines)
    fresh.replace(path)


def set_aside(path: Path) -> Path:
    """Renames what can't be used, beside where it was, and returns its new path."""
    names = [path.with_name(f"{path.name}.broken{n or ''}") for n in range(_KEPT_ASIDE)]
    free = next((name for name in names if not os.path.lexists(name)), names[-1])
    path.rename(free)
    return free
