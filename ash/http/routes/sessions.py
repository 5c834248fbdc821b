"""What changes a session: the routes that pause, stop, resume, fork, interrupt and configure it."""

import msgspec
from quart import Blueprint, Response, g

from ash.authentication import Tickets
from ash.http.responses import answer, asked, body
from ash.protocol import ExecResult
from ash.requests.parsing import event_page, log_page, message_page, session_page
from ash.requests.sessions import (
    ConfigureSession,
    CreateSession,
    ForkSession,
    RunCommand,
    fork_when_busy,
    new_config,
    new_session,
    shell_command,
)
from ash.sessions.service import Sessions

_create = msgspec.json.Decoder(CreateSession)
_command = msgspec.json.Decoder(RunCommand)


def session_routes(sessions: Sessions) -> Blueprint:
    routes = Blueprint("sessions", __name__, url_prefix="/api/sessions")

    @routes.post("")
    async def create() -> Response:
        wanted = new_session(await body(_create))
        return answer(201, session=await sessions.create(g.tenant, wanted))

    @routes.get("")
    async def find() -> Response:
        found, total = await sessions.find(g.tenant, **session_page(asked))
        return answer(sessions=found, total=total)

    @routes.get("/<session_id>")
    async def get(session_id: str) -> Response:
        return answer(session=await sessions.get(g.tenant, session_id))

    @routes.delete("/<session_id>")
    async def end(session_id: str) -> Response:
        return answer(session=await sessions.end(g.tenant, session_id))

    @routes.get("/<session_id>/messages")
    async def messages(session_id: str) -> Response:
        found = await sessions.messages(g.tenant, session_id, **message_page(asked))
        return answer(messages=found)

    @routes.get("/<session_id>/events")
    async def events(session_id: str) -> Response:
        found = await sessions.events(g.tenant, session_id, **event_page(asked))
        return answer(events=found)

    @routes.get("/<session_id>/logs")
    async def logs(session_id: str) -> Response:
        lines, source = await sessions.logs(g.tenant, session_id, **log_page(asked))
        return answer(logs=lines, source=source)

    @routes.post("/<session_id>/exec")
    async def execute(session_id: str) -> Response:
        command = shell_command(await body(_command))
        return answer(**_shown(await sessions.exec(g.tenant, session_id, command)))

    return routes


def _shown(result: ExecResult) -> dict[str, object]:
    shown = {"exitCode": result.exit_code, "stdout": result.stdout, "stderr": result.stderr}
    if result.timed_out:
        shown["timedOut"] = True
    if result.truncated:
        shown["truncated"] = True
    return shown


_configure = msgspec.json.Decoder(ConfigureSession)
_fork = msgspec.json.Decoder(ForkSession)


def lifecycle_routes(sessions: Sessions) -> Blueprint:
    routes = Blueprint("lifecycle", __name__, url_prefix="/api/sessions")

    @routes.post("/<session_id>/pause")
    async def pause(session_id: str) -> Response:
        return answer(session=await sessions.pause(g.tenant, session_id))

    @routes.post("/<session_id>/stop")
    async def stop(session_id: str) -> Response:
        return answer(session=await sessions.stop(g.tenant, session_id))

    @routes.post("/<session_id>/resume")
    async def resume(session_id: str) -> Response:
        return answer(session=await sessions.resume(g.tenant, session_id))

    @routes.post("/<session_id>/fork")
    async def fork(session_id: str) -> Response:
        wanted = await body(_fork)
        busy = fork_when_busy(asked)
        session = await sessions.fork(g.tenant, session_id, wanted.after_sequence, busy)
        return answer(201, session=session)

    @routes.post("/<session_id>/interrupt")
    async def interrupt(session_id: str) -> Response:
        interrupted = await sessions.interrupt(g.tenant, session_id)
        return answer(interrupted=interrupted, turn="running" if interrupted else "idle")

    @routes.patch("/<session_id>/config")
    async def configure(session_id: str) -> Response:
        wanted = await body(_configure)
        config = new_config(wanted)
        session = await sessions.configure(g.tenant, session_id, wanted.model, config)
        return answer(session=session)

    return routes


def ticket_routes(sessions: Sessions, tickets: Tickets) -> Blueprint:
    routes = Blueprint("tickets", __name__, url_prefix="/api/sessions")

    @routes.post("/<session_id>/stream-ticket")
    async def issue(session_id: str) -> Response:
        session = await sessions.get(g.tenant, session_id)
        issued = tickets.issue(g.tenant, session.id)
        return answer(ticket=issued.ticket, expiresAt=issued.expires_at)

    return routes
