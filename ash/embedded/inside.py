"""What is in a session: its history, its sandbox, its files."""

from collections.abc import Mapping

import msgspec
from msgspec import UNSET

from ash.client.calls.fields import given
from ash.client.results import CommandResult, FileList, Logs, WrittenFile
from ash.embedded.agents import as_bytes, empty
from ash.embedded.root import TENANT, Calls, call
from ash.model import EventType, Message, SessionEvent
from ash.requests.parsing import decode, encode, event_page, log_page, message_page
from ash.requests.sessions import RunCommand, UploadFiles, shell_command
from ash.sessions.files import Upload, Written

_command = msgspec.json.Decoder(RunCommand)
_upload = msgspec.json.Decoder(UploadFiles)

# Read at once: other files may be read meanwhile.
_PIECE = 1024 * 1024


class InsideCalls(Calls):
    @call
    async def list_messages(
        self, session_id: str, *, after: int | None = None, limit: int | None = None
    ) -> list[Message]:
        """Those behind the sequence `after`, oldest first; 100 if no limit is given."""
        page = message_page(given(after=after, limit=limit).get)
        return await self._core.sessions.messages(TENANT, session_id, **page)

    @call
    async def list_events(
        self,
        session_id: str,
        *,
        after: int | None = None,
        limit: int | None = None,
        type: EventType | None = None,  # noqa: A002 - the API's name
    ) -> list[SessionEvent]:
        """The timeline behind the sequence `after`, oldest first; 200 if no limit is given."""
        page = event_page(given(after=after, limit=limit, type=type).get)
        return await self._core.sessions.events(TENANT, session_id, **page)

    @call
    async def get_logs(self, session_id: str, *, after: int | None = None) -> Logs:
        """What was printed in the sandbox, behind the line with the index `after`."""
        page = log_page(given(after=after).get)
        lines, source = await self._core.sessions.logs(TENANT, session_id, **page)
        return Logs(logs=lines, source=source)

    @call
    async def exec(
        self, session_id: str, command: str, timeout: int | None = None
    ) -> CommandResult:
        """Runs a shell command in the session's sandbox, also beside a turn.

        `timeout` is in milliseconds, as in the API; 30,000 if not given.
        """
        body = encode(given(command=command, timeout=timeout))
        wanted = shell_command(decode(body, _command))
        result = await self._core.sessions.exec(TENANT, session_id, wanted)
        return CommandResult(
            exit_code=result.exit_code,
            stdout=result.stdout,
            stderr=result.stderr,
            timed_out=result.timed_out,
            truncated=result.truncated,
        )

    @call
    async def list_files(self, session_id: str, *, include_hidden: bool | None = None) -> FileList:
        """All files, without `node_modules`, `.git` and `__pycache__`."""
        hidden = bool(include_hidden)
        found, source = await self._core.files.find(TENANT, session_id, hidden=hidden)
        return FileList(files=found.files, source=source, truncated=found.truncated)

    @call
    async def read_file(self, session_id: str, path: str) -> bytes:
        files = self._core.files
        file, _ = await files.open(TENANT, session_id, path)
        content = bytearray()
        try:
            while piece := await files.read(file, len(content), _PIECE):
                content += piece
        finally:
            file.close()
        return bytes(content)

    @call
    async def write_files(
        self, session_id: str, files: Mapping[str, bytes | str], target_path: str | None = None
    ) -> list[WrittenFile]:
        """Writes contents by their paths, below the folder `target_path`."""
        wanted = decode(encode(given(files=empty(files), targetPath=target_path)), _upload)
        uploads = [_upload_of(path, as_bytes(content)) for path, content in files.items()]
        written = await self._core.files.write(TENANT, session_id, uploads, wanted.target_path)
        return [_shown(each) for each in written]

    @call
    async def delete_file(self, session_id: str, path: str) -> None:
        await self._core.files.delete(TENANT, session_id, path)


def _upload_of(path: str, content: bytes) -> Upload:
    return Upload(path, len(content), [content])


def _shown(written: Written) -> WrittenFile:
    return WrittenFile(
        path=written.path,
        written=written.written,
        size=None if written.size is UNSET else written.size,
        error=None if written.error is UNSET else written.error,
    )
