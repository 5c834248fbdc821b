import msgspec
from quart import Blueprint, Response, g

from ash.http.responses import answer, asked, body
from ash.protocol import ExecResult
from ash.requests.pages import event_page, log_page, message_page, session_page
from ash.requests.sessions import CreateSession, RunCommand, new_session, shell_command
from ash.sessions.service import Sessions

_create = msgspec.json.Decoder(CreateSession)
_command = msgspec.json.Decoder(RunCommand)


def blueprint(sessions: Sessions) -> Blueprint:
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
