"""The routes of sessions: themselves, their history, their life cycle, tickets for their stream."""

import msgspec
from quart import Blueprint, Response, g

from ash.authentication import Tickets
from ash.http.responses import created, json_response, read_json, read_query, read_with_warnings
from ash.protocol import ExecResult
from ash.requests.parsing import event_page, log_page, session_page
from ash.requests.sessions import (
    ConfigureSession,
    CreateSession,
    ForkSession,
    RunCommand,
    changed_options,
    fork_when_busy,
    keeps_files,
    new_session,
    shell_command,
)
from ash.sessions.service import Sessions

_create = msgspec.json.Decoder(CreateSession)
_configure = msgspec.json.Decoder(ConfigureSession)
_fork = msgspec.json.Decoder(ForkSession)
_command = msgspec.json.Decoder(RunCommand)


def session_routes(sessions: Sessions) -> Blueprint:
    routes = Blueprint("sessions", __name__, url_prefix="/api/sessions")

    @routes.post("")
    async def create() -> Response:
        wanted, warnings = await read_with_warnings(_create)
        new, doubts = new_session(wanted)
        session = await sessions.create(g.tenant, new)
        more = {"warnings": warnings + doubts} if warnings + doubts else {}
        return created(f"/api/sessions/{session.id}", session=session, **more)

    @routes.get("")
    async def find() -> Response:
        found, total = await sessions.find(g.tenant, **read_query(session_page))
        return json_response(sessions=found, total=total)

    @routes.get("/<session_id>")
    async def get(session_id: str) -> Response:
        return json_response(session=await sessions.get(g.tenant, session_id))

    @routes.delete("/<session_id>")
    async def end(session_id: str) -> Response:
        keep = read_query(keeps_files)
        return json_response(session=await sessions.end(g.tenant, session_id, keep_files=keep))

    @routes.get("/<session_id>/events")
    async def events(session_id: str) -> Response:
        found = await sessions.events(g.tenant, session_id, **read_query(event_page))
        return json_response(events=found)

    @routes.get("/<session_id>/logs")
    async def logs(session_id: str) -> Response:
        lines, source = await sessions.logs(g.tenant, session_id, **read_query(log_page))
        return json_response(logs=lines, source=source)

    @routes.post("/<session_id>/exec")
    async def execute(session_id: str) -> Response:
        command = shell_command(await read_json(_command))
        return json_response(**_command_result(await sessions.exec(g.tenant, session_id, command)))

    return routes


def lifecycle_routes(sessions: Sessions) -> Blueprint:
    """What changes a session's state or settings."""
    routes = Blueprint("lifecycle", __name__, url_prefix="/api/sessions")

    @routes.post("/<session_id>/pause")
    async def pause(session_id: str) -> Response:
        return json_response(session=await sessions.pause(g.tenant, session_id))

    @routes.post("/<session_id>/stop")
    async def stop(session_id: str) -> Response:
        return json_response(session=await sessions.stop(g.tenant, session_id))

    @routes.post("/<session_id>/resume")
    async def resume(session_id: str) -> Response:
        return json_response(session=await sessions.resume(g.tenant, session_id))

    @routes.post("/<session_id>/fork")
    async def fork(session_id: str) -> Response:
        wanted = await read_json(_fork)
        when_busy = read_query(fork_when_busy)
        session = await sessions.fork(g.tenant, session_id, wanted.after_sequence, when_busy)
        return created(f"/api/sessions/{session.id}", session=session)

    @routes.post("/<session_id>/interrupt")
    async def interrupt(session_id: str) -> Response:
        interrupted = await sessions.interrupt(g.tenant, session_id)
        return json_response(interrupted=interrupted, turn="running" if interrupted else "idle")

    @routes.patch("/<session_id>/config")
    async def configure(session_id: str) -> Response:
        changes, doubts = changed_options(await read_json(_configure))
        session = await sessions.configure(g.tenant, session_id, changes)
        more = {"warnings": doubts} if doubts else {}
        return json_response(session=session, **more)

    return routes


def ticket_routes(sessions: Sessions, tickets: Tickets) -> Blueprint:
    routes = Blueprint("tickets", __name__, url_prefix="/api/sessions")

    @routes.post("/<session_id>/stream-ticket")
    async def issue(session_id: str) -> Response:
        session = await sessions.get(g.tenant, session_id)
        issued = tickets.issue(g.tenant, session.id)
        return json_response(ticket=issued.ticket, expiresAt=issued.expires_at)

    return routes


def _command_result(result: ExecResult) -> dict[str, object]:
    fields = {"exitCode": result.exit_code, "stdout": result.stdout, "stderr": result.stderr}
    if result.timed_out:
        fields["timedOut"] = True
    if result.truncated:
        fields["truncated"] = True
    return fields
