"""What changes a session: the routes that pause, stop, resume, fork, interrupt and configure it."""

import msgspec
from quart import Blueprint, Response, g

from ash.http.responses import answer, asked, body
from ash.requests.sessions import ConfigureSession, ForkSession, fork_when_busy, new_config
from ash.sessions.service import Sessions

_configure = msgspec.json.Decoder(ConfigureSession)
_fork = msgspec.json.Decoder(ForkSession)


def blueprint(sessions: Sessions) -> Blueprint:
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
