"""What calls answer beside what ash keeps, which is in `ash.model`."""

from typing import Literal

from msgspec import Struct

from ash.model import FileEntry, LogLine

FilesLocation = Literal["sandbox", "snapshot"]


class CommandResult(Struct, kw_only=True, rename="camel"):
    """After its timeout a command has the exit code 124."""

    exit_code: int
    stdout: str
    stderr: str
    timed_out: bool = False
    truncated: bool = False


class FileList(Struct, kw_only=True):
    """`source` is where the files are now; `truncated` that there are more."""

    files: list[FileEntry]
    source: FilesLocation
    truncated: bool = False


class WrittenFile(Struct, kw_only=True):
    """Its size in bytes, or why it was not written."""

    path: str
    written: bool
    size: int | None = None
    error: str | None = None


class Logs(Struct, kw_only=True):
    logs: list[LogLine]
    source: str
