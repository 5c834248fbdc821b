"""Answers of calls that are not stored records; those are in `ash.model`."""

from typing import Literal

from msgspec import Struct

from ash.model import FileEntry, LogLine

FilesLocation = Literal["sandbox", "snapshot"]


class CommandResult(Struct, kw_only=True, rename="camel"):
    """A command that ran into its timeout has the exit code 124."""

    exit_code: int
    stdout: str
    stderr: str
    timed_out: bool = False
    truncated: bool = False


class FileList(Struct, kw_only=True):
    """`source` says where the files are now; `truncated` says that there are more."""

    files: list[FileEntry]
    source: FilesLocation
    truncated: bool = False


class WrittenFile(Struct, kw_only=True):
    """One file: its size in bytes, or why it was not written."""

    path: str
    written: bool
    size: int | None = None
    error: str | None = None


class Logs(Struct, kw_only=True):
    logs: list[LogLine]
    source: str
