"""What is in a session: its history, its sandbox, its files."""

from collections.abc import Mapping

from ash.client.file_to_send import FileToSend, to_send
from ash.client.request import Request, given
from ash.client.results import CommandResult, FileList, Logs, WrittenFile
from ash.model import EventType, Message, SessionEvent

# Seconds that the request may take beside the command's own time.
_SLACK = 30.0
_COMMAND_MS = 30_000


def list_messages(
    session_id: str, *, after: int | None = None, limit: int | None = None
) -> Request[list[Message]]:
    """The messages after the sequence `after`, oldest first; 100 if no limit is given."""
    return Request(
        method="GET",
        path=("sessions", session_id, "messages"),
        params=given(after=after, limit=limit),
        result=list[Message],
        under="messages",
    )


def list_events(
    session_id: str,
    *,
    after: int | None = None,
    limit: int | None = None,
    type: EventType | None = None,  # noqa: A002 - the API's name
) -> Request[list[SessionEvent]]:
    """The timeline after the sequence `after`, oldest first; 200 if no limit is given."""
    return Request(
        method="GET",
        path=("sessions", session_id, "events"),
        params=given(after=after, limit=limit, type=type),
        result=list[SessionEvent],
        under="events",
    )


def get_logs(session_id: str, *, after: int | None = None) -> Request[Logs]:
    """The lines printed in the sandbox after the line with the index `after`."""
    path = ("sessions", session_id, "logs")
    return Request(method="GET", path=path, params=given(after=after), result=Logs)


def exec(session_id: str, command: str, timeout: int | None = None) -> Request[CommandResult]:  # noqa: A001 - the API's name
    """Runs a shell command in the session's sandbox, also beside a turn.

    `timeout` is in milliseconds, as in the API; 30,000 if not given.
    """
    return Request(
        method="POST",
        path=("sessions", session_id, "exec"),
        body=given(command=command, timeout=timeout),
        result=CommandResult,
        patience=(timeout or _COMMAND_MS) / 1000 + _SLACK,
    )


def list_files(session_id: str, *, include_hidden: bool | None = None) -> Request[FileList]:
    """All files, without `node_modules`, `.git` and `__pycache__`."""
    hidden = None if include_hidden is None else str(include_hidden).lower()
    return Request(
        method="GET", path=_files(session_id), params=given(includeHidden=hidden), result=FileList
    )


def read_file(session_id: str, path: str) -> Request[bytes]:
    return Request(method="GET", path=_files(session_id, path), result=bytes)


def write_files(
    session_id: str, files: Mapping[str, bytes | str | FileToSend], target_path: str | None = None
) -> Request[list[WrittenFile]]:
    """Writes contents by their paths, below the folder `target_path`.

    A `FileToSend` also says whether its file is executable.
    """
    return Request(
        method="POST",
        path=_files(session_id),
        body=given(targetPath=target_path),
        files=to_send(files),
        result=list[WrittenFile],
        under="files",
    )


def delete_file(session_id: str, path: str) -> Request[None]:
    return Request(method="DELETE", path=_files(session_id, path), result=type(None))


def _files(session_id: str, file: str | None = None) -> tuple[str, ...]:
    return ("sessions", session_id, "files", *([] if file is None else file.split("/")))
