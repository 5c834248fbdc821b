from typing import get_args

import msgspec
from quart import Blueprint, Response, g, request

from ash.errors import BadRequest
from ash.http.answers import answer, body, choice, whole_number
from ash.http.requests import CreateSession, McpServer, RunCommand, check_command
from ash.model import EventType, SessionStatus
from ash.protocol import Exec, ExecResult
from ash.sessions.recipe import CONFIG, NewSession
from ash.sessions.service import Sessions

_create = msgspec.json.Decoder(CreateSession)
_command = msgspec.json.Decoder(RunCommand)


def blueprint(sessions: Sessions) -> Blueprint:
    routes = Blueprint("sessions", __name__, url_prefix="/api/sessions")

    @routes.post("")
    async def create() -> Response:
        wanted = _new_session(await body(_create))
        return answer(201, session=await sessions.create(g.tenant, wanted))

    @routes.get("")
    async def find() -> Response:
        found, total = await sessions.find(
            g.tenant,
            agent=request.args.get("agent"),
            status=choice("status", get_args(SessionStatus)),
            limit=whole_number("limit", 100, least=1, most=1000),
            offset=whole_number("offset", 0),
        )
        return answer(sessions=found, total=total)

    @routes.get("/<session_id>")
    async def get(session_id: str) -> Response:
        return answer(session=await sessions.get(g.tenant, session_id))

    @routes.delete("/<session_id>")
    async def end(session_id: str) -> Response:
        return answer(session=await sessions.end(g.tenant, session_id))

    @routes.get("/<session_id>/messages")
    async def messages(session_id: str) -> Response:
        limit = whole_number("limit", 100, least=1, most=1000)
        after = whole_number("after", 0)
        found = await sessions.messages(g.tenant, session_id, after=after, limit=limit)
        return answer(messages=found)

    @routes.get("/<session_id>/events")
    async def events(session_id: str) -> Response:
        found = await sessions.events(
            g.tenant,
            session_id,
            after=whole_number("after", 0),
            limit=whole_number("limit", 200, least=1, most=1000),
            kind=choice("type", get_args(EventType)),
        )
        return answer(events=found)

    @routes.get("/<session_id>/logs")
    async def logs(session_id: str) -> Response:
        after = whole_number("after", -1, least=-1)
        lines, source = await sessions.logs(g.tenant, session_id, after=after)
        return answer(logs=lines, source=source)

    @routes.post("/<session_id>/exec")
    async def execute(session_id: str) -> Response:
        wanted = await body(_command)
        command = Exec(command=check_command(wanted.command), timeout=wanted.timeout)
        return answer(**_shown(await sessions.exec(g.tenant, session_id, command)))

    return routes


def _new_session(wanted: CreateSession) -> NewSession:
    config = {key: value for name, key in CONFIG.items() if (value := getattr(wanted, name))}
    return NewSession(
        agent=wanted.agent,
        model=wanted.model,
        system_prompt=wanted.system_prompt,
        mcp_servers=_mcp_servers(wanted.mcp_servers),
        permission_mode=wanted.permission_mode,
        extra_env=wanted.extra_env,
        limits=wanted.limits,
        config=config,
    )


def _shown(result: ExecResult) -> dict[str, object]:
    shown = {"exitCode": result.exit_code, "stdout": result.stdout, "stderr": result.stderr}
    if result.timed_out:
        shown["timedOut"] = True
    if result.truncated:
        shown["truncated"] = True
    return shown


def _mcp_servers(servers: dict[str, McpServer] | None) -> dict[str, object] | None:
    for name, server in (servers or {}).items():
        if (server.url is None) == (server.command is None):
            raise BadRequest(f"mcpServers.{name}: give exactly one of url and command")
    return None if servers is None else msgspec.to_builtins(servers)
