"""Answers the client's requests in the same process.

It finds the function by method and path, as the server's routes do, and calls the same services
with the same checks of the input. Nothing is sent: bytes stay bytes, and answers are objects.
"""

from copy import deepcopy
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET

from ash.agents import Agents
from ash.client.file_to_send import names_only
from ash.client.request import Request
from ash.client.results import CommandResult, FileList, Logs, WrittenFile
from ash.core import Core
from ash.model import DEFAULT_TENANT, Agent, FolderCheck, Session
from ash.requests.agents import DeployAgent, check, deploy
from ash.requests.parsing import (
    choice,
    decode,
    encode,
    event_page,
    log_page,
    message_page,
    session_page,
)
from ash.requests.sessions import (
    ConfigureSession,
    CreateSession,
    ForkSession,
    RunCommand,
    UploadFiles,
    changed_options,
    fork_when_busy,
    keeps_files,
    new_session,
    shell_command,
)
from ash.sessions.files import SessionFiles, Written
from ash.sessions.service import Sessions

T = TypeVar("T")

# API keys tell tenants apart. A script has none: all that is in its data directory is its own.
TENANT = DEFAULT_TENANT

# Bytes of a file that are read at a time, so that other reads get their turn in between.
_CHUNK = 1024 * 1024

_deploy_body = msgspec.json.Decoder(DeployAgent)
_create_body = msgspec.json.Decoder(CreateSession)
_configure_body = msgspec.json.Decoder(ConfigureSession)
_fork_body = msgspec.json.Decoder(ForkSession)
_exec_body = msgspec.json.Decoder(RunCommand)
_upload_body = msgspec.json.Decoder(UploadFiles)


async def respond(core: Core, request: Request[Any]) -> Any:  # noqa: C901, PLR0911, PLR0912 - a table of routes
    """The answer, of the type `request.result`. Raises AshError."""
    agents, sessions, files, given = core.agents, core.sessions, core.files, request.params.get
    match request.method, request.path:
        case "GET", ("health",):
            return msgspec.to_builtins(core.health())
        case "POST", ("agents",):
            return await _deploy(agents, request)
        case "POST", ("agents", "check"):
            return await _check(agents, request)
        case "GET", ("agents",):
            return await agents.find(TENANT)
        case "GET", ("agents", name):
            return await agents.get(TENANT, name)
        case "DELETE", ("agents", name):
            return await agents.delete(TENANT, name)
        case "GET", ("sessions",):
            return (await sessions.find(TENANT, **session_page(given)))[0]
        case "GET", ("sessions", session_id, "messages"):
            return await sessions.messages(TENANT, session_id, **message_page(given))
        case "GET", ("sessions", session_id, "events"):
            return await sessions.events(TENANT, session_id, **event_page(given))
        case "GET", ("sessions", session_id, "logs"):
            lines, source = await sessions.logs(TENANT, session_id, **log_page(given))
            return Logs(logs=lines, source=source)
        case "POST", ("sessions", session_id, "exec"):
            return await _exec(sessions, session_id, request)
        case "POST", ("sessions", session_id, "interrupt"):
            return await sessions.interrupt(TENANT, session_id)
        case "GET", ("sessions", session_id, "files"):
            return await _list_files(files, session_id, request)
        case "POST", ("sessions", session_id, "files"):
            return await _write_files(files, session_id, request)
        case "GET", ("sessions", session_id, "files", *path):
            return await _read_file(files, session_id, "/".join(path))
        case "DELETE", ("sessions", session_id, "files", *path):
            return await files.delete(TENANT, session_id, "/".join(path))
        case method, ("sessions", *rest):
            # A copy: the service goes on using its own, whatever the script does to this one.
            return deepcopy(await _session(sessions, request, method, rest))
    raise LookupError(f"{request.method} {request.path} has no answer")


async def _session(
    sessions: Sessions, request: Request[Any], method: str, path: list[str]
) -> Session:
    """The calls that answer with the session as it is then."""
    match method, path:
        case "POST", []:
            wanted, _ = new_session(decode(_body(request), _create_body))
            return await sessions.create(TENANT, wanted)
        case "GET", [session_id]:
            return await sessions.get(TENANT, session_id)
        case "DELETE", [session_id]:
            keep = keeps_files(request.params.get)
            return await sessions.end(TENANT, session_id, keep_files=keep)
        case "PATCH", [session_id, "config"]:
            return await _configure(sessions, session_id, request)
        case "POST", [session_id, "fork"]:
            return await _fork(sessions, session_id, request)
        case "POST", [session_id, ("pause" | "resume" | "stop") as change]:
            ways = {"pause": sessions.pause, "resume": sessions.resume, "stop": sessions.stop}
            return await ways[change](TENANT, session_id)
    raise LookupError(f"{method} {path} has no answer")


async def _deploy(agents: Agents, request: Request[Any]) -> Agent:
    return await deploy(agents, TENANT, _folder(request), _contents(request))


async def _check(agents: Agents, request: Request[Any]) -> FolderCheck:
    return await check(agents, TENANT, _folder(request), _contents(request))


def _folder(request: Request[Any]) -> DeployAgent:
    wanted = decode(_body(request), _deploy_body)
    if wanted.path is not None:
        wanted.path = _absolute(wanted.path)
    return wanted


def _absolute(path: str) -> str:
    return str(Path(path).absolute())


async def _configure(sessions: Sessions, session_id: str, request: Request[Any]) -> Session:
    changes, _ = changed_options(decode(_body(request), _configure_body))
    return await sessions.configure(TENANT, session_id, changes)


async def _fork(sessions: Sessions, session_id: str, request: Request[Any]) -> Session:
    after = decode(_body(request), _fork_body).after_sequence
    when_busy = fork_when_busy(request.params.get)
    return await sessions.fork(TENANT, session_id, after, when_busy)


async def _exec(sessions: Sessions, session_id: str, request: Request[Any]) -> CommandResult:
    command = shell_command(decode(_body(request), _exec_body))
    result = await sessions.exec(TENANT, session_id, command)
    return CommandResult(
        exit_code=result.exit_code,
        stdout=result.stdout,
        stderr=result.stderr,
        timed_out=result.timed_out,
        truncated=result.truncated,
    )


async def _list_files(files: SessionFiles, session_id: str, request: Request[Any]) -> FileList:
    hidden = choice(request.params.get, "includeHidden", ("true", "false")) == "true"
    found, source = await files.find(TENANT, session_id, hidden=hidden)
    return FileList(files=found.files, source=source, truncated=found.truncated)


async def _read_file(files: SessionFiles, session_id: str, path: str) -> bytes:
    file, _ = await files.open(TENANT, session_id, path)
    content = bytearray()
    try:
        while chunk := await files.read(file, len(content), _CHUNK):
            content += chunk
    finally:
        file.close()
    return bytes(content)


async def _write_files(
    files: SessionFiles, session_id: str, request: Request[Any]
) -> list[WrittenFile]:
    wanted = decode(_body(request), _upload_body)
    contents = _contents(request)
    uploads = [
        file.upload(len(contents[file.path]), [contents[file.path]]) for file in wanted.files
    ]
    written = await files.write(TENANT, session_id, uploads, wanted.target_path)
    return [_written_file(each) for each in written]


def _contents(request: Request[Any]) -> dict[str, bytes]:
    return {path: file.data for path, file in (request.files or {}).items()}


def _written_file(written: Written) -> WrittenFile:
    return WrittenFile(
        path=written.path,
        written=written.written,
        size=None if written.size is UNSET else written.size,
        error=None if written.error is UNSET else written.error,
    )


def _body(request: Request[Any]) -> bytes:
    """The body as JSON, to be decoded as the server does. Files are named but left empty."""
    body = request.body or {}
    if request.files is not None:
        body = {**body, "files": names_only(request.files)}
    return encode(body)
